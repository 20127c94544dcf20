/**
 * Brings NARs back into the cache from where they are whole: an upstream, or a damaged pack. Nothing is believed: what is
 * taken unpacks to the very NAR that the entry describes, so the entry's signatures hold for it.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import pLimit from 'p-limit';
import { openNar } from '../cache/read/nar-source.ts';
import { BlobUploader, type Place } from '../cache/write/blob-uploader.ts';
import { MAX_PACKED_BYTES } from '../cache/write/pack.ts';
import type { BackedEntry } from '../cache/write/segment-writer.ts';
import { openSpool } from '../cache/write/spool.ts';
import { type Entry, narUrl } from '../cache-index/entry.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { decompress } from '../nar/decompress.ts';
import { encodeNarListing, type NarNode } from '../nar/nar-listing.ts';
import { verifyNar } from '../nar/nar-reader.ts';
import { PartWriter, type WrittenNar } from '../nar/part-writer.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { digestOf } from '../oci/digest.ts';
import type { OnVerifyEvent } from './events.ts';
import type { PlannedFetch } from './plan.ts';

export interface RestoreOptions extends CallOptions {
  readonly store: ContentStore;
  readonly onEvent: OnVerifyEvent;
}

export interface Restored {
  readonly entries: ReadonlyMap<HashPart, BackedEntry>;
  /** Why the others could not be. */
  readonly failed: ReadonlyMap<HashPart, string>;
}

const CONCURRENT_RESTORES = 4;
/** 256 MiB, as publish has it. */
const PART_BYTES = 256 * 1024 * 1024;
/** Before each piece in a pack: without them a pack may become the very one that lies damaged, which is then not replaced. */
const SALT_BYTES = 16;

export async function restore(fetches: readonly PlannedFetch[], options: RestoreOptions): Promise<Restored> {
  if (fetches.length === 0) return { entries: new Map(), failed: new Map() };
  const { store, onEvent, signal } = options;
  await using spool = await openSpool(store);
  const uploader = new BlobUploader({ store, signal, uploadLimit: pLimit(CONCURRENT_RESTORES), onUploaded: () => {} });
  const limit = pLimit(CONCURRENT_RESTORES);
  const staged = new Map<HashPart, StagedEntry>();
  const failed = new Map<HashPart, string>();
  try {
    await Promise.all(
      fetches.map((fetch) =>
        limit(async () => {
          const { path } = fetch.entry.narInfo;
          try {
            staged.set(fetch.hashPart, await stage(fetch, uploader, spool.directory, options));
            onEvent({ type: 'repaired', message: `restored ${path} from ${fetch.upstream?.name ?? 'a damaged pack'}` });
          } catch (error) {
            signal?.throwIfAborted();
            if (!isNixcacheError(error) || error.code === 'ERR_IO') throw error;
            failed.set(fetch.hashPart, messageOf(error));
            onEvent({ type: 'warning', message: `${path} could not be restored: ${messageOf(error)}` });
          }
        }),
      ),
    );
    await uploader.flush();
    const entries = new Map<HashPart, BackedEntry>();
    for (const [hashPart, each] of staged) entries.set(hashPart, await resolve(each, uploader));
    return { entries, failed };
  } finally {
    limit.clearQueue();
  }
}

interface StagedEntry {
  readonly narInfo: Entry['narInfo'];
  readonly nar: Place;
  readonly listing: { readonly digest: Descriptor['digest']; readonly at: Place };
  readonly own: readonly Descriptor[];
}

async function stage(
  fetch: PlannedFetch,
  uploader: BlobUploader,
  spoolDirectory: string,
  options: RestoreOptions,
): Promise<StagedEntry> {
  const { entry, narInfo } = fetch;
  const written = await take(fetch, spoolDirectory, options);
  const { fileHash, fileSize, bytes, parts = [], listing } = written;
  const own: Descriptor[] = [];
  await uploader.ready();
  await uploader.put(randomBytes(SALT_BYTES), mediaTypes.NAR, own);
  const nar = bytes ? await uploader.put(bytes, mediaTypes.NAR, own) : await uploader.putParts(parts, own);
  const packed = zstdCompressSync(encodeNarListing(listing));
  const at = await uploader.put(packed, mediaTypes.LISTING, own);
  const { compression } = narInfo;
  const sigs = [...new Set([...entry.narInfo.sigs, ...narInfo.sigs])];
  return {
    narInfo: { ...entry.narInfo, url: narUrl(fileHash, compression), compression, fileHash, fileSize, sigs },
    ...{ nar, listing: { digest: digestOf(packed), at }, own },
  };
}

/** The compressed NAR, on disk or in memory, once it is known to hold what the entry says. */
async function take(
  { entry, upstream, narInfo }: PlannedFetch,
  spoolDirectory: string,
  { store, signal }: RestoreOptions,
): Promise<WrittenNar & { readonly listing: NarNode }> {
  const { narHash, narSize, path } = entry.narInfo;
  const source = upstream
    ? (await upstream.openFile(narInfo.url, { signal }))?.body
    : await openNar(store, entry, { signal });
  if (!source) throw new NixcacheError('ERR_UPSTREAM', `${upstream?.name ?? ''} has lost ${narInfo.url}`);
  const writer = new PartWriter({
    spoolDirectory,
    maxInlineBytes: MAX_PACKED_BYTES,
    // Cut anywhere but where it was cut before: a part may otherwise be the very blob that lies damaged.
    partBytes: Math.min(PART_BYTES, Math.ceil((narInfo.fileSize ?? narSize) / 2) + randomInt(MAX_PACKED_BYTES)),
  });
  try {
    const found = await verifyNar(decompress(written(source, writer), narInfo.compression, narSize), {
      withListing: true,
    });
    if (found.narHash !== narHash || found.narSize !== narSize || !found.listing) {
      throw new NixcacheError('ERR_FORMAT', `what was found for ${path} is another NAR, ${found.narHash}`);
    }
    return { ...writer.finish(), listing: found.listing };
  } catch (error) {
    writer.discard();
    throw error;
  }
}

async function* written(
  source: AsyncIterable<Uint8Array>,
  writer: PartWriter,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of source) {
    writer.write(chunk);
    yield chunk;
  }
}

async function resolve({ narInfo, nar, listing, own }: StagedEntry, uploader: BlobUploader): Promise<BackedEntry> {
  const placed = await uploader.resolve(nar);
  const listed = await uploader.resolve(listing.at);
  return {
    entry: { narInfo, nar: placed.extents, listing: { digest: listing.digest, extents: listed.extents } },
    blobs: [...own, placed.pack, listed.pack].filter((blob) => blob !== undefined),
  };
}
