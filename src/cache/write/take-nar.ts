/**
 * A compressed NAR out of other hands: streamed, checked by what it unpacks to, and put down as it came. The listing is
 * made on the way. Nothing is believed: what is taken unpacks to the very NAR that was asked for, whatever file it was said
 * to be, which nobody signs.
 */

import type { Readable } from 'node:stream';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import { canDecompress, decompress } from '../../nar/decompress.ts';
import type { NarResult } from '../../nar/nar-job.ts';
import { packNarListing } from '../../nar/nar-listing.ts';
import { verifyNar } from '../../nar/nar-reader.ts';
import type { NarSink } from '../../nar/part-writer.ts';
import { toolAdvice } from '../../nar/tools.ts';
import { maxPackedBytes } from '../../nar/verify-packed.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import type { PathInfo } from '../../nix/path-info.ts';
import { partBytesFor } from './limits.ts';
import { MAX_PACKED_BYTES } from './pack.ts';
import type { Spool } from './spool.ts';

/** Where a compressed NAR is to be had. */
export interface NarSource extends Pick<NarInfo, 'url' | 'compression'> {
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
 * @throws {NixcacheError} ERR_NAR_MISMATCH when the source's bytes are another NAR or none, or cannot be
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
    const { compression } = source;
    throw mismatch(`its compression ${compression} is one that cannot be checked here${toolAdvice(compression)}`);
  }
  const body = await source.open({ signal });
  if (!body) throw mismatch(`${source.name} has no ${source.url}`);
  const limits = { maxInlineBytes: MAX_PACKED_BYTES, partBytes: partBytes ?? partBytesFor(wanted.narSize) };
  const output = await spool.open(limits).catch((error: unknown) => {
    body.destroy();
    throw error;
  });
  try {
    const nar = atMost(decompress(kept(body, wanted, output), source.compression), wanted.narSize);
    const { narHash, narSize, listing } = await verifyNar(nar, { withListing: true });
    if (narSize !== wanted.narSize) throw mismatch(`its NAR has ${narSize} bytes, not ${wanted.narSize}`);
    if (narHash !== wanted.narHash) throw mismatch(`its NAR hash is ${narHash}, not ${wanted.narHash}`);
    const written = output.finish();
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

/** Passes the file on, and puts it down. How long it is said to be is signed by nobody; it may at most be of no use. */
async function* kept(
  body: AsyncIterable<Buffer>,
  { narSize }: Pick<PathInfo, 'narSize'>,
  output: NarSink,
): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxPackedBytes(narSize)) throw mismatch(`its file is longer than twice its NAR of ${narSize} bytes`);
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

const mismatch = (message: string, cause?: unknown): NixcacheError =>
  new NixcacheError('ERR_NAR_MISMATCH', message, { cause });
