/** Small texts from a binary cache, which may store them compressed. */
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, zstdDecompress } from 'node:zlib';
import { NixcacheError } from '../errors.ts';
import { readBounded } from '../streams/verify.ts';
import type { SourceFile } from './file-source.ts';

type Decoder = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

/** What Nix itself stores with `?narinfo-compression=` and the like, and can still read. */
const DECODERS: Readonly<Record<string, Decoder>> = {
  gzip: promisify(gunzip),
  br: promisify(brotliDecompress),
  zstd: promisify(zstdDecompress),
  deflate: promisify(inflate),
};

/**
 * Reads the text of `file` to its end.
 *
 * @throws {NixcacheError} ERR_UPSTREAM when it is longer than `maxBytes`, or cannot be decoded
 */
export async function readText(file: SourceFile, maxBytes: number, what: string): Promise<string> {
  const { body, encoding } = file;
  const bytes = await readBounded(body, maxBytes, what, 'ERR_UPSTREAM');
  if (encoding === undefined) return bytes.toString('utf8');
  const decode = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding] : undefined;
  if (decode === undefined) throw new NixcacheError('ERR_UPSTREAM', `${what} has the unknown encoding '${encoding}'`);
  try {
    return (await decode(bytes, { maxOutputLength: maxBytes })).toString('utf8');
  } catch (cause) {
    throw new NixcacheError('ERR_UPSTREAM', `${what} cannot be decoded as ${encoding}`, { cause });
  }
}
