/** Compresses a NAR anew, quickly and in bounded memory, in any form that Nix reads. */
import { pipeline, Readable, type Transform } from 'node:stream';
import { constants, createBrotliCompress, createGzip, createZstdCompress } from 'node:zlib';
import { NixcacheError } from '../errors.ts';
import { findPacker, throughTool } from './tools.ts';

type Bytes = AsyncIterable<Uint8Array>;

const ENCODERS: Readonly<Record<string, (source: Bytes) => Bytes>> = {
  none: (source) => source,
  zstd: (source) => through(source, createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } })),
  gzip: (source) => through(source, createGzip({ level: 1 })),
  br: (source) => through(source, createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })),
};

/** Whether NARs can be made with this compression; xz and rarer methods need a program. */
export async function canCompress(compression: string): Promise<boolean> {
  return Object.hasOwn(ENCODERS, compression) || (await findPacker(compression)) !== undefined;
}

/**
 * What `source` becomes; it is closed on every path.
 *
 * @throws {NixcacheError} ERR_FORMAT when it cannot be compressed so; and whatever `source` throws
 */
export async function* compress(source: Bytes, compression: string): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = Object.hasOwn(ENCODERS, compression) ? ENCODERS[compression] : undefined;
  const tool = encoder === undefined ? await findPacker(compression) : undefined;
  if (encoder !== undefined) yield* encoder(source);
  else if (tool !== undefined) yield* throughTool(source, tool);
  else throw new NixcacheError('ERR_FORMAT', `NARs cannot be compressed with ${compression} here`);
}

/** The error of `source` ends the encoder too, which is read here. */
function through(source: Bytes, encoder: Transform): Bytes {
  pipeline(Readable.from(source, { objectMode: false }), encoder, () => undefined);
  return encoder;
}
