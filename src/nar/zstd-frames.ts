/**
 * Decompresses zstd data of one or many frames. Node's own decoder stops after the first frame without a word
 * (nodejs/node#64741), while Nix since 2.35 and we write several, so frames are told apart here and decoded one by one.
 *
 * Frame format: RFC 8878 section 3.1.
 */
import { pipeline, Readable } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';
import { NixcacheError } from '../errors.ts';

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
/** The last four bits of a skippable frame's magic number are free. */
const SKIPPABLE_MASK = 0xfffffff0;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/**
 * The decompressed bytes of `source`, in bounded memory.
 *
 * @throws {NixcacheError} ERR_FORMAT on data that is not zstd, damaged or cut short
 */
export async function* decompressZstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, undefined> {
  const input = new ByteSource(source);
  try {
    for (;;) {
      const magic = await input.read(4);
      if (magic.length === 0) return;
      const number = magic.length === 4 ? magic.readUInt32LE() : 0;
      if ((number & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC) {
        for await (const _ of input.pass((await input.readFully(4)).readUInt32LE()));
      } else if (number === FRAME_MAGIC) yield* decodeFrame(frameBytes(magic, input));
      else throw new NixcacheError('ERR_FORMAT', 'the data is not zstd');
    }
  } finally {
    await input.close();
  }
}

async function* decodeFrame(frame: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, undefined> {
  const source = Readable.from(frame, { objectMode: false });
  let failure: unknown;
  source.on('error', (error) => {
    failure = error;
  });
  // The callback is where a pipeline reports; the same error ends the decoder, which the loop below reads.
  const decoder = pipeline(source, createZstdDecompress(), () => undefined);
  try {
    yield* decoder;
  } catch (cause) {
    if (failure !== undefined) throw failure; // the source's own, or what is wrong with the frame
    throw new NixcacheError('ERR_FORMAT', 'the zstd data is damaged', { cause });
  }
}

/** The bytes of one frame, whose magic number has been read. */
async function* frameBytes(magic: Buffer, input: ByteSource): AsyncGenerator<Uint8Array, void, undefined> {
  yield magic;
  const head = await input.readFully(1);
  yield head;
  const descriptor = head[0] ?? 0;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSize = CONTENT_SIZE_BYTES[descriptor >> 6] ?? 0;
  const rest =
    (isSingleSegment ? 0 : 1) +
    (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0) +
    (contentSize === 0 && isSingleSegment ? 1 : contentSize);
  yield await input.readFully(rest);
  for (let isLast = false; !isLast; ) {
    const header = await input.readFully(3);
    yield header;
    const word = header.readUIntLE(0, 3);
    isLast = (word & 1) === 1;
    const type = (word >> 1) & 3;
    if (type === BLOCK_RESERVED) throw new NixcacheError('ERR_FORMAT', 'the zstd data is damaged: reserved block type');
    yield* input.pass(type === BLOCK_RLE ? 1 : word >> 3);
  }
  if ((descriptor & 4) !== 0) yield await input.readFully(4);
}

/** Takes what comes in chunks by counts of bytes. */
class ByteSource {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** `count` bytes, or fewer at the end. */
  async read(count: number): Promise<Buffer> {
    if (this.#chunk.length >= count) return this.#take(count); // most often so, and no copy
    const pieces: Buffer[] = [];
    for (let lacking = count; lacking > 0 && (await this.#fill()); ) {
      const piece = this.#take(lacking);
      lacking -= piece.length;
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  async readFully(count: number): Promise<Buffer> {
    const bytes = await this.read(count);
    if (bytes.length < count) throw cutShort();
    return bytes;
  }

  /** `count` bytes, as they come. */
  async *pass(count: number): AsyncGenerator<Buffer, void, undefined> {
    for (let lacking = count; lacking > 0; ) {
      if (!(await this.#fill())) throw cutShort();
      const piece = this.#take(lacking);
      lacking -= piece.length;
      yield piece;
    }
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }

  #take(most: number): Buffer {
    const piece = this.#chunk.subarray(0, most);
    this.#chunk = this.#chunk.subarray(piece.length);
    return piece;
  }

  /** Whether there is at least one byte more. */
  async #fill(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const { done, value } = await this.#iterator.next();
      if (done) return false;
      this.#chunk = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    return true;
  }
}

const cutShort = (): NixcacheError => new NixcacheError('ERR_FORMAT', 'the zstd data is cut short');
