/**
 * Opens NARs so that nothing wrong passes for right. A small one is read and checked before its first byte is handed on. Of
 * a large one whose pieces have known digests each piece is. Of any other, the whole is checked on its way, its last bytes
 * withheld; a part is handed on only after the whole was read once, for that tells the digests of its pieces.
 */
import { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import { untilIntact } from '../oci/read-blob.ts';
import { SharedWork } from '../shared-work.ts';
import type { ByteRange } from '../streams/byte-range.ts';
import { PIECE_BYTES, PieceDigester, type Pieces, readPieces } from '../streams/pieces.ts';
import type { OpenOptions } from './answer.ts';
import { BrokenNarError } from './broken-nar.ts';
import type { Nar, OpenNar } from './open-nar.ts';
import type { Slots } from './slots.ts';

export interface VerifiedNarsOptions {
  /** Of wholes, checks all and withholds the end; of ranges, only the length. */
  readonly open: OpenNar;
  /** `nar` is not what its hash says, or not there: told each time that it shows. */
  readonly onLost: (nar: Nar, error: Error) => void;
  /** For all NARs that are open. */
  readonly slots: Slots;
}

/** 16 MiB of digests are of 1 TiB of NARs. */
const MAX_KNOWN_BYTES = 16 * 1024 * 1024;

export class VerifiedNars {
  readonly #options: VerifiedNarsOptions;
  readonly #known = new LRUCache<string, Pieces>({
    maxSize: MAX_KNOWN_BYTES,
    sizeCalculation: ({ digests }) => digests.length + 200,
  });
  readonly #reading = new Map<string, SharedWork<Pieces>>();

  constructor(options: VerifiedNarsOptions) {
    this.#options = options;
  }

  /**
   * A NAR or a range of it: as bytes, or as a stream that ends in an error unless all was right.
   *
   * @throws {NixcacheError} as `OpenNar`; ERR_DIGEST_MISMATCH when the beginning is known to be wrong
   */
  async open(nar: Nar, options: OpenOptions): Promise<Readable | Buffer> {
    const told = (error: unknown): void => {
      const isGone = isNixcacheError(error, 'ERR_DIGEST_MISMATCH', 'ERR_NOT_FOUND', 'ERR_RANGE');
      if (!isGone && !(error instanceof BrokenNarError)) return;
      // Without a file hash, other bytes may be right the next time.
      this.#known.delete(keyOf(nar));
      this.#options.onLost(nar, error);
    };
    const release = await this.#options.slots.take(options);
    try {
      const opened = await this.#open(nar, options);
      if (Buffer.isBuffer(opened)) release();
      else opened.once('error', told).once('close', release);
      return opened;
    } catch (error) {
      release();
      if (!options.signal.aborted) told(error);
      throw error;
    }
  }

  async #open(nar: Nar, { range, signal, via }: OpenOptions): Promise<Readable | Buffer> {
    const { size } = nar;
    const { open } = this.#options;
    const key = keyOf(nar);
    const what = 'entry' in nar ? nar.entry.narInfo.url : `${nar.upstream.name}/${nar.url}`;
    if (size !== undefined && size <= PIECE_BYTES) {
      const chunks = await untilIntact(async () => readWhole(await open(nar, { signal, via }), size, what));
      const [first, ...more] = chunks;
      if (range === undefined && more.length > 0) return Readable.from(chunks, { objectMode: false });
      const whole = more.length === 0 && first !== undefined ? first : Buffer.concat(chunks);
      return range === undefined ? whole : whole.subarray(range.offset, range.offset + range.length);
    }
    const known = nar.pieces ?? this.#known.get(key);
    const pieces = known ?? (range === undefined ? undefined : await this.#readAll(nar, key, { signal, via }));
    if (pieces === undefined) return await open(nar, { signal, via });
    const openPart = (part: ByteRange): Promise<Readable> => open(nar, { signal, range: part, via });
    return await readPieces({ pieces, range: range ?? { offset: 0, length: pieces.size }, open: openPart, what });
  }

  /** Reads all of `nar`, once for all who wait for it, and keeps the digests of its pieces. */
  #readAll(nar: Nar, key: string, { signal, via }: OpenOptions): Promise<Pieces> {
    // Those who are told the same of it: for what one was told wrong, another's is not lost.
    const who = 'entry' in nar ? '' : ` ${nar.upstream.id} ${nar.url} ${nar.narHash} ${nar.unpacked?.compression}`;
    const what = key + who;
    let reading = this.#reading.get(what);
    if (reading === undefined) {
      const read = async (signal: AbortSignal): Promise<Pieces> => {
        const digester = new PieceDigester();
        const whole = await this.#options.open(nar, { signal, via });
        for await (const chunk of whole as AsyncIterable<Buffer>) digester.update(chunk);
        const pieces = digester.finish();
        this.#known.set(key, pieces);
        return pieces;
      };
      reading = new SharedWork((signal) => read(signal).finally(() => this.#reading.delete(what)));
      this.#reading.set(what, reading);
    }
    return reading.join({ signal });
  }
}

/** The same for NARs that have to be the same bytes. */
const keyOf = (nar: Nar): string =>
  nar.fileHash ?? ('entry' in nar ? nar.entry.narInfo.fileHash : `${nar.upstream.id} ${nar.ours}`);

/** The chunks of `stream`, which are `size` bytes: put together they would be copied. */
async function readWhole(stream: Readable, size: number, what: string): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  let seen = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    seen += chunk.length;
    if (seen > size) break;
    chunks.push(chunk);
  }
  if (seen === size) return chunks;
  throw new NixcacheError('ERR_DIGEST_MISMATCH', `${what} does not have ${size} bytes`);
}
