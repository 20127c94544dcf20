/** Reads the bytes of an entry from wherever they lie: a blob of their own, a range of a pack, or several parts. */

import { Readable } from 'node:stream';
import { zstdDecompressSync } from 'node:zlib';
import { digestOfFile, type Entry } from '../../cache-index/entry.ts';
import { type Extent, totalLength } from '../../cache-index/extent.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf, NixcacheError } from '../../errors.ts';
import { MAX_LISTING_BYTES } from '../../nix/nar-info.ts';
import type { BlobFetcher, ReadOnlyStore } from '../../oci/content-store.ts';
import { untilIntact } from '../../oci/read-blob.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { readBounded, readThrough, verifyStream } from '../../streams/verify.ts';

/**
 * Streams the compressed NAR of `entry`, or a `range` of it. A whole one is checked against its file hash, its last
 * bytes withheld until that is right.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_RANGE, ERR_DIGEST_MISMATCH, ERR_NETWORK
 */
export async function openNar(
  store: BlobFetcher,
  entry: Entry,
  options: CallOptions & { readonly range?: ByteRange | undefined } = {},
): Promise<Readable> {
  const { range, signal } = options;
  const digest = digestOfFile(entry.narInfo.fileHash);
  const size = entry.narInfo.fileSize;
  const [only] = entry.nar;
  if (entry.nar.length === 1 && only?.digest === digest) {
    return store.fetchBlob({ digest, size }, { range, signal });
  }
  if (range && range.offset + range.length > size) {
    throw new NixcacheError(
      'ERR_RANGE',
      `bytes ${range.offset}+${range.length} lie outside ${entry.narInfo.url}, ${size} bytes`,
    );
  }
  const pieces = range ? slice(entry.nar, range) : entry.nar;
  const [first, ...rest] = pieces;
  if (!first) return Readable.from([]);
  const opened = await openExtent(store, first, signal); // now, so that its absence is this call's error
  const joined = rest.length === 0 ? opened : concatenate(store, opened, rest, signal);
  return range ? joined : readThrough(joined, verifyStream({ digest, size }), { signal });
}

/** Where the compressed NAR of `entry` lies, when it is a blob of its own and the store says; see BlobLocator. */
export async function locateNar(
  store: Pick<ReadOnlyStore, 'locateBlob'>,
  { nar, narInfo }: Entry,
  options: CallOptions = {},
): Promise<URL | undefined> {
  const digest = digestOfFile(narInfo.fileHash);
  const isBlob = nar.length === 1 && nar[0]?.digest === digest;
  return isBlob ? await store.locateBlob?.({ digest, size: narInfo.fileSize }, options) : undefined;
}

const openExtent = (store: BlobFetcher, { digest, offset, length }: Extent, signal?: AbortSignal): Promise<Readable> =>
  store.fetchBlob({ digest }, { range: { offset, length }, signal });

/** The bytes of `first` and of `rest` behind it, which are opened in their turn. Its end, whichever it is, closes all. */
function concatenate(store: BlobFetcher, first: Readable, rest: readonly Extent[], signal?: AbortSignal): Readable {
  let open = first;
  async function* bytes(): AsyncGenerator<Buffer> {
    yield* open;
    for (const extent of rest) {
      open = await openExtent(store, extent, signal);
      if (joined.destroyed) open.destroy();
      yield* open;
    }
  }
  const joined: Readable = Readable.from(bytes(), { objectMode: false });
  // The generator cannot do it: nobody may ever have asked it for anything.
  return joined.once('close', () => open.destroy());
}

/** The extents that hold `range` of what `extents` hold end to end. */
export function slice(extents: readonly Extent[], range: ByteRange): Extent[] {
  const slices: Extent[] = [];
  let position = 0;
  for (const { digest, offset, length } of extents) {
    const start = Math.max(range.offset, position);
    const end = Math.min(range.offset + range.length, position + length);
    if (start < end) slices.push({ digest, offset: offset + start - position, length: end - start });
    position += length;
  }
  return slices;
}

/** The listing of `entry` as JSON text, or undefined if none was published. */
export async function fetchListing(
  store: BlobFetcher,
  entry: Entry,
  options: CallOptions = {},
): Promise<Buffer | undefined> {
  if (!entry.listing) return undefined;
  const { digest, extents } = entry.listing;
  const what = `listing of ${entry.narInfo.path}`;
  const [first, ...rest] = extents;
  if (!first) throw new NixcacheError('ERR_INDEX', `${what} has no extents`);
  const size = totalLength(extents);
  const bytes = await untilIntact(async () => {
    const opened = await openExtent(store, first, options.signal);
    const joined = concatenate(store, opened, rest, options.signal);
    return readBounded(readThrough(joined, verifyStream({ digest, size }, what)), MAX_LISTING_BYTES, what);
  });
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: MAX_LISTING_BYTES });
  } catch (cause) {
    throw new NixcacheError('ERR_INDEX', `${what} does not unpack: ${messageOf(cause)}`, { cause });
  }
}
