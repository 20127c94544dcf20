/** What is inside a compressed NAR, in bounded memory. */
import { pipeline, Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip } from 'node:zlib';
import { messageOf, NixcacheError } from '../errors.ts';
import { findTool, throughTool } from './tools.ts';
import { decompressZstd } from './zstd-frames.ts';

type Bytes = AsyncIterable<Uint8Array>;

interface Frames {
  /** Bytes, unpacked, that nobody wants: less work where there are frames to pass over. */
  readonly skip?: number | undefined;
  /** Hears of each frame of zstd where it begins, packed and unpacked: unpacking may begin there. */
  readonly onFrame?: ((packed: number, unpacked: number) => void) | undefined;
}

const DECODERS: Readonly<Record<string, (source: Bytes) => Bytes>> = {
  none: (source) => source,
  zstd: (source) => decompressZstd(source),
  gzip: (source) => throughZlib(source, createGunzip()),
  br: (source) => throughZlib(source, createBrotliDecompress()),
};

/** Whether NARs with this compression can be looked into; xz and rarer methods need a program. */
export async function canDecompress(compression: string): Promise<boolean> {
  return Object.hasOwn(DECODERS, compression) || (await findTool(compression)) !== undefined;
}

/**
 * What `source` holds; it is closed on every path.
 *
 * @param maxBytes ends in an error when there are more, those that are skipped included
 * @throws {NixcacheError} ERR_FORMAT when it does not decompress; and whatever `source` throws
 */
export async function* decompress(
  source: Bytes,
  compression: string,
  maxBytes: number = Number.POSITIVE_INFINITY,
  { skip = 0, onFrame }: Frames = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = Object.hasOwn(DECODERS, compression) ? DECODERS[compression] : await byTool(compression);
  if (!decoder) throw new NixcacheError('ERR_FORMAT', `NARs compressed with ${compression} cannot be looked into`);
  let seen = 0;
  const options = { skip, onFrame: onFrame && ((packed: number) => onFrame(packed, seen)) };
  const decoded = compression === 'zstd' ? decompressZstd(source, options) : decoder(source);
  let unwanted = skip;
  if (compression === 'zstd') [seen, unwanted] = [skip, 0];
  for await (const chunk of decoded) {
    seen += chunk.length;
    if (seen > maxBytes) throw new NixcacheError('ERR_FORMAT', `it unpacks to more than ${maxBytes} bytes`);
    const dropped = Math.min(unwanted, chunk.length);
    unwanted -= dropped;
    if (dropped < chunk.length) yield chunk.subarray(dropped);
  }
}

async function byTool(compression: string): Promise<((source: Bytes) => Bytes) | undefined> {
  const tool = await findTool(compression);
  return tool && ((source) => throughTool(source, tool));
}

async function* throughZlib(source: Bytes, decoder: Transform): AsyncGenerator<Uint8Array, void, undefined> {
  let failure: unknown;
  const input = Readable.from(source, { objectMode: false });
  input.on('error', (error) => {
    failure = error;
  });
  // The callback is where a pipeline reports; the same error ends the decoder, which is read here.
  pipeline(input, decoder, () => undefined);
  try {
    yield* decoder;
  } catch (cause) {
    if (failure !== undefined) throw failure;
    throw damaged('compressed', cause);
  }
}

const damaged = (name: string, cause: unknown): NixcacheError =>
  new NixcacheError('ERR_FORMAT', `the ${name} data is damaged: ${messageOf(cause)}`, { cause });
