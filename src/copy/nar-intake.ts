/**
 * One NAR out of a binary cache: streamed, checked against its narinfo both compressed and not, and put down as it came.
 * The listing is made on the way.
 */

import { zstdCompressSync } from 'node:zlib';
import { MAX_PACKED_BYTES } from '../cache/write/pack.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { canDecompress, decompress } from '../nar/decompress.ts';
import { encodeNarListing } from '../nar/nar-listing.ts';
import { verifyNar } from '../nar/nar-reader.ts';
import { PartWriter, type WrittenNar } from '../nar/part-writer.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { Upstream } from '../upstream/upstream.ts';

export interface TakenNar extends WrittenNar {
  /** The zstd-compressed `.ls` listing. */
  readonly listing: Uint8Array;
}

export interface IntakeOptions extends CallOptions {
  readonly source: Pick<Upstream, 'openFile' | 'name'>;
  /** Where files go that are too large to be kept in memory. */
  readonly spoolDirectory: string;
}

/** 256 MiB, as publish has it: a retry costs one part. */
const PART_BYTES = 256 * 1024 * 1024;
/** Below the layers of a manifest on every registry; larger NARs get larger parts. */
const MAX_PARTS = 300;
/** Of one NAR whose connection breaks. */
const MAX_ATTEMPTS = 3;

/**
 * Fetches the NAR of `narInfo`.
 *
 * @throws {NixcacheError} ERR_NAR_MISMATCH when its bytes are not what the narinfo says, are not there, or cannot be
 *   checked: that path is at fault. Anything else is the source's trouble, or the disk's.
 */
export async function takeNar(narInfo: NarInfo, options: IntakeOptions): Promise<TakenNar> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await takeOnce(narInfo, options);
    } catch (error) {
      const isBroken = isNixcacheError(error, 'ERR_NETWORK', 'ERR_UPSTREAM');
      if (!isBroken || attempt === MAX_ATTEMPTS || options.signal?.aborted) throw error;
    }
  }
}

async function takeOnce(narInfo: NarInfo, { source, spoolDirectory, signal }: IntakeOptions): Promise<TakenNar> {
  if (!(await canDecompress(narInfo.compression))) {
    throw mismatch(`its compression ${narInfo.compression} is one that cannot be checked here`);
  }
  const file = await source.openFile(narInfo.url, { signal });
  if (!file) throw mismatch(`${source.name} has no ${narInfo.url}`);
  const partBytes = Math.max(PART_BYTES, Math.ceil((narInfo.fileSize ?? narInfo.narSize) / MAX_PARTS));
  const output = new PartWriter({ spoolDirectory, maxInlineBytes: MAX_PACKED_BYTES, partBytes });
  try {
    const compressed = kept(file.body, narInfo, output);
    const nar = atMost(decompress(compressed, narInfo.compression), narInfo.narSize);
    const { narHash, narSize, listing } = await verifyNar(nar, { withListing: true });
    if (narSize !== narInfo.narSize) throw mismatch(`its NAR has ${narSize} bytes, not ${narInfo.narSize}`);
    if (narHash !== narInfo.narHash) throw mismatch(`its NAR hash is ${narHash}, not ${narInfo.narHash}`);
    const written = output.finish();
    checkFile(written, narInfo);
    if (!listing) throw new Error('the NAR reader made no listing');
    return { ...written, listing: zstdCompressSync(encodeNarListing(listing)) };
  } catch (error) {
    output.discard();
    if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
    throw mismatch(`its NAR is damaged: ${messageOf(error)}`, error);
  } finally {
    file.body.destroy();
  }
}

/** Passes the file on, and puts it down. */
async function* kept(body: AsyncIterable<Buffer>, { fileSize }: NarInfo, output: PartWriter): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (fileSize !== undefined && size > fileSize) throw mismatch(`its file is longer than ${fileSize} bytes`);
    output.write(chunk);
    yield chunk;
  }
}

/** A few bytes of attack unpack to terabytes. */
async function* atMost(nar: AsyncIterable<Uint8Array>, narSize: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of nar) {
    size += chunk.length;
    if (size > narSize) throw mismatch(`its NAR is longer than ${narSize} bytes`);
    yield chunk;
  }
}

function checkFile({ fileHash, fileSize }: WrittenNar, narInfo: NarInfo): void {
  if (narInfo.fileSize !== undefined && narInfo.fileSize !== fileSize) {
    throw mismatch(`its file has ${fileSize} bytes, not ${narInfo.fileSize}`);
  }
  if (narInfo.fileHash !== undefined && narInfo.fileHash !== fileHash) {
    throw mismatch(`the hash of its file is ${fileHash}, not ${narInfo.fileHash}`);
  }
}

const mismatch = (message: string, cause?: unknown): NixcacheError =>
  new NixcacheError('ERR_NAR_MISMATCH', message, { cause });
