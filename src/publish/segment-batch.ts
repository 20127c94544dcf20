/** Turns staged paths into entries, signs them, and commits them as one segment. */

import pLimit from 'p-limit';
import { commitSegment } from '../cache/write/commit.ts';
import type { BackedEntry } from '../cache/write/segment-writer.ts';
import type { Entry } from '../cache-index/entry.ts';
import type { Pin, Root } from '../cache-index/records.ts';
import { encodeSegment } from '../cache-index/segment.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError } from '../errors.ts';
import { type SecretKey, signPathInfo } from '../nix/signature.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { NarUploader, StagedPath } from './nar-uploader.ts';

export interface Batch {
  readonly staged: readonly StagedPath[];
  /** In the cache already, and to be listed again. */
  readonly asserted: readonly BackedEntry[];
  readonly roots: readonly Root[];
  readonly pins?: readonly Pin[];
}

export interface SegmentBatchOptions extends CallOptions {
  readonly store: ContentStore;
  readonly uploader: NarUploader;
  readonly keys: readonly SecretKey[];
  readonly storeDir: string;
  readonly creator: string;
  readonly source?: string | undefined;
  readonly revision?: string | undefined;
  readonly sourceUrl?: string | undefined;
  readonly now: () => Date;
}

export interface CommittedSegment {
  readonly tag: string;
  readonly descriptor: Descriptor;
  readonly entries: number;
}

const CONCURRENT_CHECKS = 16;

/**
 * Commits `batch`. If the registry has lost blobs in the meantime (its garbage collection took them, or a gc ran), the
 * paths that need them are read and pushed again, once.
 */
export async function commitBatch(batch: Batch, options: SegmentBatchOptions): Promise<CommittedSegment> {
  try {
    return await commitOnce(batch, options);
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw error;
    return commitOnce(await heal(batch, options), options);
  }
}

async function commitOnce(batch: Batch, options: SegmentBatchOptions): Promise<CommittedSegment> {
  const { store, uploader, keys, now, signal } = options;
  await uploader.flush();
  const blobs = new Map<Digest, Descriptor>();
  const add = (blob: Descriptor): void => void blobs.set(blob.digest, blob);
  const entries: Entry[] = [];
  for (const asserted of batch.asserted) {
    entries.push({ ...asserted.entry, asserted: undefined });
    asserted.blobs.forEach(add);
  }
  for (const staged of batch.staged) {
    const nar = await uploader.resolve(staged.nar);
    const listing = await uploader.resolve(staged.listing.at);
    for (const blob of [...staged.blobs, nar.pack, listing.pack]) if (blob) add(blob);
    entries.push({
      narInfo: { ...staged.narInfo, sigs: signed(staged.narInfo, keys) },
      nar: nar.extents,
      listing: { digest: staged.listing.digest, extents: listing.extents },
    });
  }
  const segment = encodeSegment({
    entries,
    blobs: [...blobs.values()],
    storeDir: options.storeDir,
    creator: options.creator,
    source: options.source,
    revision: options.revision,
    sourceUrl: options.sourceUrl,
    roots: batch.roots,
    pins: batch.pins ?? [],
    publicKeys: keys.map(({ publicKey }) => publicKey.text),
    now: now(),
  });
  await commitSegment(store, segment, { signal });
  return { tag: segment.tag, descriptor: segment.descriptor, entries: entries.length };
}

/** The path's own signatures, then one by each key; a signature by a key of ours that was there before is replaced. */
function signed(narInfo: StagedPath['narInfo'], keys: readonly SecretKey[]): string[] {
  const ours = keys.map((key) => signPathInfo(narInfo, key));
  const names = new Set(keys.map(({ name }) => name));
  return [...narInfo.sigs.filter((sig) => !names.has(sig.slice(0, sig.indexOf(':')))), ...ours];
}

/** The batch with everything staged afresh whose blobs the registry no longer has. */
async function heal(batch: Batch, { store, uploader, signal }: SegmentBatchOptions): Promise<Batch> {
  const limit = pLimit(CONCURRENT_CHECKS);
  const known = new Map<Digest, Promise<boolean>>();
  const isThere = (blob: Descriptor): Promise<boolean> => {
    const held = known.get(blob.digest) ?? limit(() => store.hasBlob(blob, { signal }));
    known.set(blob.digest, held);
    return held;
  };
  const areThere = async (blobs: readonly Descriptor[]): Promise<boolean> =>
    (await Promise.all(blobs.map(isThere))).every(Boolean);
  const staged = await Promise.all(
    batch.staged.map(async (path) => {
      const nar = await uploader.resolve(path.nar);
      const listing = await uploader.resolve(path.listing.at);
      const blobs = [...path.blobs, nar.pack, listing.pack].filter((blob) => blob !== undefined);
      return (await areThere(blobs)) ? path : uploader.stage(path.info);
    }),
  );
  const asserted: BackedEntry[] = [];
  for (const held of batch.asserted) {
    if (await areThere(held.blobs)) asserted.push(held);
    else staged.push(await uploader.stage(held.entry.narInfo));
  }
  return { ...batch, staged, asserted };
}
