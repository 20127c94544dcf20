/**
 * Takes the file of a NAR as it comes: hashed, unpacked and put down in one pass, in memory that does not grow with it. What
 * its narinfo will have to say is known then.
 */
import { createHash } from 'node:crypto';
import { isNixcacheError, messageOf } from '../../errors.ts';
import { canDecompress, decompress } from '../../nar/decompress.ts';
import { packNarListing } from '../../nar/nar-listing.ts';
import { verifyNar } from '../../nar/nar-reader.ts';
import { NAR_MAGIC } from '../../nar/nar-token.ts';
import { toolAdvice } from '../../nar/tools.ts';
import { hashFromBytes, type NixHash } from '../../nix/hash.ts';
import type { NarName } from './nar-names.ts';
import { UploadError } from './upload-error.ts';
import type { SpoolFile } from './upload-spool.ts';

/** What is in a compressed NAR. */
export interface UnpackedNar {
  readonly compression: string;
  readonly narHash: NixHash;
  readonly narSize: number;
  /** Compressed with zstd; undefined for one that is too long to be served. */
  readonly listing: Uint8Array | undefined;
}

export interface ReceivedNar {
  readonly fileSize: number;
  /** Undefined where only its narinfo will tell how it is compressed. */
  readonly unpacked: UnpackedNar | undefined;
}

/** 1 TiB: far above what anybody has in one path, and what a bomb unpacks to in an hour. */
const MAX_NAR_BYTES = 2 ** 40;

/** The length of the first token, and the token. */
const NAR_START = Buffer.concat([Buffer.from([NAR_MAGIC.length, 0, 0, 0, 0, 0, 0, 0]), Buffer.from(NAR_MAGIC)]);

/**
 * Writes `body` to `file`, which is then the caller's to keep.
 *
 * @param contentLength how long it was said to be, if anything was said
 * @throws {UploadError} when it is not what its name says, or no NAR; and what `body` and `file` throw
 */
export async function receiveNar(
  body: AsyncIterable<Uint8Array>,
  { name, fileHash, compression }: NarName,
  { file, contentLength }: { readonly file: SpoolFile; readonly contentLength: number | undefined },
): Promise<ReceivedNar> {
  const hash = createHash('sha256');
  const chunks = body[Symbol.asyncIterator]();
  let fileSize = 0;
  const next = async (): Promise<Uint8Array | undefined> => {
    const { value, done } = await chunks.next();
    if (done === true) return undefined;
    hash.update(value);
    fileSize += value.length;
    await file.write(value);
    return value;
  };
  try {
    const first = await next();
    const isPlain = first !== undefined && NAR_START.equals(first.subarray(0, NAR_START.length));
    const method = compression ?? (isPlain ? 'none' : undefined);
    const unpacked = method === undefined ? undefined : await unpack(following(first, next), method);
    // The rest of what cannot be looked into yet; of what has been there must be none.
    const hadEnded = fileSize;
    while ((await next()) !== undefined);
    if (unpacked !== undefined && fileSize > hadEnded) throw new UploadError(400, 'bytes follow the end of the NAR');
    if (contentLength !== undefined && fileSize !== contentLength) {
      throw new UploadError(400, `the body was cut off after ${fileSize} of ${contentLength} bytes`);
    }
    const found = hashFromBytes(hash.digest());
    if (found !== fileHash)
      throw new UploadError(400, `nar/${name} has the hash ${found}, which is not that of its name`);
    return { fileSize, unpacked };
  } finally {
    // Whoever sends it learns that no more is read.
    await chunks.return?.().catch(() => undefined);
  }
}

async function* following(
  first: Uint8Array | undefined,
  next: () => Promise<Uint8Array | undefined>,
): AsyncGenerator<Uint8Array> {
  for (let chunk = first; chunk !== undefined; chunk = await next()) yield chunk;
}

/** @throws {UploadError} when `source` is no NAR that is compressed with `compression` */
export async function unpack(source: AsyncIterable<Uint8Array>, compression: string): Promise<UnpackedNar> {
  if (!(await canDecompress(compression))) {
    const advice = toolAdvice(compression);
    throw new UploadError(
      400,
      `this server cannot look into NARs compressed with ${compression}${advice}; zstd and none always work`,
    );
  }
  try {
    const nar = decompress(source, compression, MAX_NAR_BYTES);
    const { narHash, narSize, listing } = await verifyNar(nar, { withListing: true });
    return { compression, narHash, narSize, listing: packNarListing(listing) };
  } catch (cause) {
    if (!isNixcacheError(cause, 'ERR_FORMAT') || cause instanceof UploadError) throw cause;
    throw new UploadError(400, `the file is no NAR compressed with ${compression}: ${messageOf(cause)}`, { cause });
  }
}
