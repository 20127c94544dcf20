/**
 * A compressed NAR out of other hands: streamed, checked both compressed and not, and put down as it came. The listing is
 * made on the way. Nothing is believed: what is taken unpacks to the very NAR that was asked for.
 */

import type { Readable } from 'node:stream';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import { canDecompress, decompress } from '../../nar/decompress.ts';
import type { NarResult } from '../../nar/nar-job.ts';
import { packNarListing } from '../../nar/nar-listing.ts';
import { verifyNar } from '../../nar/nar-reader.ts';
import type { NarSink, WrittenNar } from '../../nar/part-writer.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import type { PathInfo } from '../../nix/path-info.ts';
import { partBytesFor } from './limits.ts';
import { MAX_PACKED_BYTES } from './pack.ts';
import type { Spool } from './spool.ts';

/** Where a compressed NAR is to be had. */
export interface NarSource extends Pick<NarInfo, 'url' | 'compression' | 'fileHash' | 'fileSize'> {
  /** For messages. */
  readonly name: string;
  /** Its bytes, undefined if it has none; asked again when a connection breaks. */
  readonly open: (options: CallOptions) => Promise<Readable | undefined>;
}

export interface TakeNarOptions extends CallOptions {
  readonly spool: Spool;
  /** Default: as large as parts are. */
  readonly partBytes?: number | undefined;
}

/** Of one NAR whose connection breaks. */
const MAX_ATTEMPTS = 3;

/**
 * Fetches the NAR that `wanted` describes.
 *
 * @throws {NixcacheError} ERR_NAR_MISMATCH when the source's bytes are not what it says, are another NAR, or cannot be
 *   checked: that path is at fault. Anything else is the source's trouble, or the disk's.
 */
export async function takeNar(
  wanted: Pick<PathInfo, 'narHash' | 'narSize'>,
  source: NarSource,
  options: TakeNarOptions,
): Promise<NarResult> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await takeOnce(wanted, source, options);
    } catch (error) {
      const isBroken = isNixcacheError(error, 'ERR_NETWORK', 'ERR_UPSTREAM');
      if (!isBroken || attempt === MAX_ATTEMPTS || options.signal?.aborted) throw error;
    }
  }
}

async function takeOnce(
  wanted: Pick<PathInfo, 'narHash' | 'narSize'>,
  source: NarSource,
  { spool, partBytes, signal }: TakeNarOptions,
): Promise<NarResult> {
  if (!(await canDecompress(source.compression))) {
    throw mismatch(`its compression ${source.compression} is one that cannot be checked here`);
  }
  const body = await source.open({ signal });
  if (!body) throw mismatch(`${source.name} has no ${source.url}`);
  const output = spool.open({
    maxInlineBytes: MAX_PACKED_BYTES,
    partBytes: partBytes ?? partBytesFor(source.fileSize ?? wanted.narSize),
  });
  try {
    const nar = atMost(decompress(kept(body, source, output), source.compression), wanted.narSize);
    const { narHash, narSize, listing } = await verifyNar(nar, { withListing: true });
    if (narSize !== wanted.narSize) throw mismatch(`its NAR has ${narSize} bytes, not ${wanted.narSize}`);
    if (narHash !== wanted.narHash) throw mismatch(`its NAR hash is ${narHash}, not ${wanted.narHash}`);
    const written = output.finish();
    checkFile(written, source);
    if (!listing) throw new Error('the NAR reader made no listing');
    return { ...written, listing: packNarListing(listing) };
  } catch (error) {
    output.discard();
    if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
    throw mismatch(`its NAR is damaged: ${messageOf(error)}`, error);
  } finally {
    body.destroy();
  }
}

/** Passes the file on, and puts it down. */
async function* kept(body: AsyncIterable<Buffer>, { fileSize }: NarSource, output: NarSink): AsyncGenerator<Buffer> {
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

function checkFile(written: WrittenNar, { fileHash, fileSize }: NarSource): void {
  if (fileSize !== undefined && fileSize !== written.fileSize) {
    throw mismatch(`its file has ${written.fileSize} bytes, not ${fileSize}`);
  }
  if (fileHash !== undefined && fileHash !== written.fileHash) {
    throw mismatch(`the hash of its file is ${written.fileHash}, not ${fileHash}`);
  }
}

const mismatch = (message: string, cause?: unknown): NixcacheError =>
  new NixcacheError('ERR_NAR_MISMATCH', message, { cause });
