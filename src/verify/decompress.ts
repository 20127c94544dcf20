/** The NAR inside a compressed one, in bounded memory: never more of it than its entry says there is. */
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { decompressZstd } from '../nix/zstd-frames.ts';

/** Whether `decompress` knows the method. */
export async function canDecompress(compression: string): Promise<boolean> {
  if (compression === 'xz') return (await loadXz()) !== undefined;
  return compression === 'zstd' || compression === 'none';
}

/**
 * What `source` holds; it is closed on every path.
 *
 * @param maxBytes ends in an error when there are more
 * @throws {NixcacheError} ERR_FORMAT when it does not decompress; and whatever `source` throws
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  compression: string,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let seen = 0;
  let failure: { readonly error: unknown } | undefined;
  const watched = watch(source, (error) => {
    failure = { error };
  });
  try {
    for await (const chunk of open(watched, compression)) {
      seen += chunk.length;
      if (seen > maxBytes) throw new NixcacheError('ERR_FORMAT', `it unpacks to more than ${maxBytes} bytes`);
      yield chunk;
    }
  } catch (error) {
    throw failure ? failure.error : error; // a decoder calls damaged what only broke off
  }
}

async function* watch(
  source: AsyncIterable<Uint8Array>,
  onFailure: (error: unknown) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* source;
  } catch (error) {
    onFailure(error);
    throw error;
  }
}

function open(source: AsyncIterable<Uint8Array>, compression: string): AsyncIterable<Uint8Array> {
  if (compression === 'none') return source;
  return compression === 'xz' ? unpackXz(source) : decompressZstd(source);
}

/** 4 KiB: of zeros, xz makes 28 MiB out of them, which are in memory at once. */
const XZ_PIECE_BYTES = 4096;

async function* unpackXz(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const lzma = await loadXz();
  if (!lzma) throw new NixcacheError('ERR_USAGE', 'unpacking xz needs the optional package @napi-rs/lzma');
  const decoder = new lzma.XzDecompressor();
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += XZ_PIECE_BYTES) {
      const piece = chunk.subarray(at, at + XZ_PIECE_BYTES);
      const bytes = await readable(() => decoder.update(piece));
      if (bytes.length > 0) yield bytes;
    }
  }
  const rest = await readable(() => decoder.finish());
  if (rest.length > 0) yield rest;
}

async function readable<T>(decode: () => T | Promise<T>): Promise<T> {
  try {
    return await decode();
  } catch (cause) {
    if (isNixcacheError(cause)) throw cause;
    throw new NixcacheError('ERR_FORMAT', `the xz data is damaged: ${messageOf(cause)}`, { cause });
  }
}

const loadXz = (): Promise<typeof import('@napi-rs/lzma') | undefined> =>
  import('@napi-rs/lzma').catch(() => undefined);
