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
 * The decompressed bytes of `source`, in bounded memory, less the first `skip`: what lies in frames that say how much they hold
 * is not even decoded. `onFrame` hears at which byte of `source` each frame begins.
 *
 * @throws {NixcacheError} ERR_FORMAT on data that is not zstd, damaged or cut short
 */
export async function* decompressZstd(
  source: AsyncIterable<Uint8Array>,
  { skip = 0, onFrame }: { readonly skip?: number; readonly onFrame?: ((position: number) => void) | undefined } = {},
): AsyncGenerator<Buffer, void, undefined> {
  const input = new ByteSource(source);
  let unwanted = skip;
  try {
    for (;;) {
      const start = input.position;
      const magic = await input.read(4);
      if (magic.length === 0) return;
      const number = magic.length === 4 ? magic.readUInt32LE() : 0;
      if ((number & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC) {
        for await (const _ of input.pass((await input.readFully(4)).readUInt32LE()));
      } else if (number === FRAME_MAGIC) {
        onFrame?.(start);
        const header = await readHeader(magic, input);
        const { contentSize } = header;
        if (unwanted > 0 && contentSize !== undefined && contentSize <= unwanted) {
          for await (const _ of blocksOf(header, input));
          unwanted -= contentSize;
          continue;
        }
        for await (const chunk of decodeFrame(frameBytes(header, input))) {
          const dropped = Math.min(unwanted, chunk.length);
          unwanted -= dropped;
          if (dropped < chunk.length) yield chunk.subarray(dropped);
        }
      } else throw new NixcacheError('ERR_FORMAT', 'the data is not zstd');
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

interface FrameHeader {
  /** With the magic number. */
  readonly bytes: Buffer;
  /** How much the frame says that it holds. */
  readonly contentSize: number | undefined;
  readonly hasChecksum: boolean;
}

/** What stands before a frame's blocks; its magic number has been read. */
async function readHeader(magic: Buffer, input: ByteSource): Promise<FrameHeader> {
  const head = await input.readFully(1);
  const descriptor = head[0] ?? 0;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeBytes = CONTENT_SIZE_BYTES[descriptor >> 6] || (isSingleSegment ? 1 : 0);
  const before = await input.readFully((isSingleSegment ? 0 : 1) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0));
  const size = await input.readFully(sizeBytes);
  const bytes = Buffer.concat([magic, head, before, size]);
  return { bytes, contentSize: contentSizeOf(size), hasChecksum: (descriptor & 4) !== 0 };
}

function contentSizeOf(field: Buffer): number | undefined {
  if (field.length === 0) return undefined;
  const size = field.length === 8 ? Number(field.readBigUInt64LE()) : field.readUIntLE(0, field.length);
  return field.length === 2 ? size + 256 : size;
}

async function* frameBytes(header: FrameHeader, input: ByteSource): AsyncGenerator<Uint8Array, void, undefined> {
  yield header.bytes;
  yield* blocksOf(header, input);
}

/** What stands behind a frame's header. */
async function* blocksOf({ hasChecksum }: FrameHeader, input: ByteSource): AsyncGenerator<Uint8Array, void, undefined> {
  for (let isLast = false; !isLast; ) {
    const header = await input.readFully(3);
    yield header;
    const word = header.readUIntLE(0, 3);
    isLast = (word & 1) === 1;
    const type = (word >> 1) & 3;
    if (type === BLOCK_RESERVED) throw new NixcacheError('ERR_FORMAT', 'the zstd data is damaged: reserved block type');
    yield* input.pass(type === BLOCK_RLE ? 1 : word >> 3);
  }
  if (hasChecksum) yield await input.readFully(4);
}

/** Takes what comes in chunks by counts of bytes. */
class ByteSource {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #chunk: Buffer = Buffer.alloc(0);
  #position = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** Bytes that were taken. */
  get position(): number {
    return this.#position;
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
    this.#position += piece.length;
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
