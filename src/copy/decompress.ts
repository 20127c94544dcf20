/** What is inside a compressed NAR, chunk by chunk. */
import { pipeline, Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip } from 'node:zlib';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { decompressZstd } from '../nix/zstd-frames.ts';

type Bytes = AsyncIterable<Uint8Array>;

/** 16 KiB: the xz decoder gives all that a chunk holds at once, which is up to some thousand times as much. */
const XZ_CHUNK_BYTES = 16 * 1024;

const DECODERS: Readonly<Record<string, (source: Bytes) => Bytes>> = {
  none: (source) => source,
  zstd: decompressZstd,
  xz: decompressXz,
  gzip: (source) => throughZlib(source, createGunzip()),
  br: (source) => throughZlib(source, createBrotliDecompress()),
};

/** Whether NARs with this compression can be looked into. */
export const canDecompress = (compression: string): boolean => Object.hasOwn(DECODERS, compression);

/**
 * The decompressed bytes of `source`, which is read to its end.
 *
 * @throws {NixcacheError} ERR_FORMAT when it is damaged; what `source` throws is passed on
 */
export async function* decompress(source: Bytes, compression: string): AsyncGenerator<Uint8Array> {
  const decoder = canDecompress(compression) ? DECODERS[compression] : undefined;
  if (!decoder) throw new NixcacheError('ERR_FORMAT', `NARs compressed with ${compression} cannot be looked into`);
  try {
    yield* decoder(source);
  } catch (cause) {
    if (isNixcacheError(cause)) throw cause;
    throw new NixcacheError('ERR_FORMAT', `it is not ${compression}: ${messageOf(cause)}`, { cause });
  }
}

async function* decompressXz(source: Bytes): AsyncGenerator<Uint8Array> {
  const { XzDecompressor } = await import('@napi-rs/lzma').catch((cause: unknown) => {
    throw new NixcacheError(
      'ERR_USAGE',
      'xz NARs cannot be checked without the optional package @napi-rs/lzma, which is not installed',
      { cause },
    );
  });
  const decoder = new XzDecompressor();
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += XZ_CHUNK_BYTES) {
      const decoded = decoder.update(chunk.subarray(at, at + XZ_CHUNK_BYTES));
      if (decoded.length > 0) yield decoded;
    }
  }
  yield await decoder.finish();
}

async function* throughZlib(source: Bytes, decoder: Transform): AsyncGenerator<Uint8Array> {
  // The callback is where a pipeline reports; the same error ends the decoder, which is read here.
  pipeline(Readable.from(source, { objectMode: false }), decoder, () => undefined);
  yield* decoder;
}
