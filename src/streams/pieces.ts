/**
 * Content that is checked piece by piece, so that any range of it can be handed on without reading all of it.
 *
 * The digest of a piece is the first 16 bytes of its SHA-256: 128 bits tell damage as well as 256 do, in half the room.
 */
import { createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import type { ByteRange } from './byte-range.ts';

/** 1 MiB: what a reader holds back of each stream, at 22 characters of digest for each MiB. */
export const PIECE_BYTES = 1024 * 1024;
const PIECE_DIGEST_BYTES = 16;

/** Of each `pieceBytes` of some content the digest, end to end. */
export interface PieceDigests {
  readonly pieceBytes: number;
  readonly digests: Uint8Array;
}

/** What content of `size` bytes has to be. */
export interface Pieces extends PieceDigests {
  readonly size: number;
}

/** Digests the pieces of what is written to it. */
export class PieceDigester {
  readonly #pieceBytes: number;
  readonly #digests: Buffer[] = [];
  #hash: Hash | undefined;
  #inPiece = 0;
  #size = 0;

  constructor(pieceBytes: number = PIECE_BYTES) {
    this.#pieceBytes = pieceBytes;
  }

  update(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + this.#pieceBytes - this.#inPiece);
      this.#hash ??= createHash('sha256');
      this.#hash.update(part);
      this.#inPiece += part.length;
      at += part.length;
      if (this.#inPiece === this.#pieceBytes) this.#endPiece();
    }
    this.#size += chunk.length;
  }

  finish(): Pieces {
    this.#endPiece();
    const digests = new Uint8Array(Buffer.concat(this.#digests)); // which is no view, and can go to another thread
    return { size: this.#size, pieceBytes: this.#pieceBytes, digests };
  }

  #endPiece(): void {
    if (this.#hash !== undefined) this.#digests.push(digestOf(this.#hash));
    this.#hash = undefined;
    this.#inPiece = 0;
  }
}

export interface ReadPiecesOptions {
  readonly pieces: Pieces;
  /** Within `pieces.size`. */
  readonly range: ByteRange;
  /** Opens a range of the content, which need not be checked. */
  open(range: ByteRange): Promise<Readable>;
  /** For messages. */
  readonly what: string;
}

/** In all, of one piece: the damage may be of the way, or of one replica behind a name. */
const MAX_READS = 3;

/**
 * Streams `range` of content, each piece only after it was found right, and asked for again when it was not. The first one
 * is read before this returns, so that its damage is this call's error.
 *
 * @throws {NixcacheError} ERR_DIGEST_MISMATCH, here or as the end of the stream; and what `open` throws
 */
export async function readPieces(options: ReadPiecesOptions): Promise<Readable> {
  const reader = new PieceReader(options);
  const first = await reader.next();
  const stream: Readable = Readable.from(reader.rest(first), { objectMode: false });
  // The generator cannot do it: nobody may ever have asked it for anything.
  return stream.once('close', () => reader.close());
}

class PieceReader {
  readonly #options: ReadPiecesOptions;
  readonly #end: number;
  #source: Readable | undefined;
  #chunks: AsyncIterator<Buffer> | undefined;
  /** Of what was read from the source and belongs to the next piece. */
  #left: Buffer | undefined;
  /** Where the next piece starts. */
  #position: number;
  #closed = false;

  constructor(options: ReadPiecesOptions) {
    const { pieces, range } = options;
    this.#options = options;
    this.#position = range.offset - (range.offset % pieces.pieceBytes);
    this.#end = Math.min(pieces.size, Math.ceil((range.offset + range.length) / pieces.pieceBytes) * pieces.pieceBytes);
  }

  close(): void {
    this.#closed = true;
    this.#source?.destroy();
  }

  async *rest(first: readonly Buffer[] | undefined): AsyncGenerator<Buffer, void, undefined> {
    for (let chunks = first; chunks !== undefined; chunks = await this.next()) yield* chunks;
  }

  /** What the range has of the next piece; undefined behind the last. */
  async next(): Promise<readonly Buffer[] | undefined> {
    const { pieces, range } = this.#options;
    const start = this.#position;
    if (start >= this.#end) return undefined;
    const length = Math.min(pieces.pieceBytes, pieces.size - start);
    const chunks = await this.#readRight(length);
    this.#position += length;
    if (this.#position >= this.#end) this.close();
    return cut(chunks, Math.max(0, range.offset - start), Math.min(length, range.offset + range.length - start));
  }

  async #readRight(length: number): Promise<readonly Buffer[]> {
    for (let reads = 1; ; reads += 1) {
      try {
        return await this.#read(length);
      } catch (error) {
        this.#source?.destroy();
        this.#source = undefined;
        this.#left = undefined;
        if (reads === MAX_READS || this.#closed || !isNixcacheError(error, 'ERR_DIGEST_MISMATCH')) throw error;
      }
    }
  }

  async #read(length: number): Promise<readonly Buffer[]> {
    const { pieces, open, what } = this.#options;
    if (this.#source === undefined) {
      this.#source = await open({ offset: this.#position, length: this.#end - this.#position });
      if (this.#closed) this.#source.destroy();
      this.#chunks = this.#source[Symbol.asyncIterator]();
    }
    const chunks: Buffer[] = [];
    const hash = createHash('sha256');
    for (let lacking = length; lacking > 0; ) {
      const chunk = this.#left ?? (await this.#chunks?.next())?.value;
      if (chunk === undefined) throw mismatch(`${what} ended ${lacking} bytes before ${this.#position + length}`);
      const part: Buffer = chunk.subarray(0, lacking);
      this.#left = part.length < chunk.length ? chunk.subarray(part.length) : undefined;
      hash.update(part);
      lacking -= part.length;
      chunks.push(part);
    }
    const at = (this.#position / pieces.pieceBytes) * PIECE_DIGEST_BYTES;
    if (digestOf(hash).equals(pieces.digests.subarray(at, at + PIECE_DIGEST_BYTES))) return chunks;
    throw mismatch(`${what} is damaged between bytes ${this.#position} and ${this.#position + length}`);
  }
}

/** Of `chunks`, end to end, the bytes from `from` to `to`. */
function cut(chunks: readonly Buffer[], from: number, to: number): Buffer[] {
  const parts: Buffer[] = [];
  let position = 0;
  for (const chunk of chunks) {
    const part = chunk.subarray(Math.max(0, from - position), Math.max(0, to - position));
    if (part.length > 0) parts.push(part);
    position += chunk.length;
  }
  return parts;
}

const digestOf = (hash: Hash): Buffer => hash.digest().subarray(0, PIECE_DIGEST_BYTES);

const mismatch = (message: string): NixcacheError => new NixcacheError('ERR_DIGEST_MISMATCH', message);
