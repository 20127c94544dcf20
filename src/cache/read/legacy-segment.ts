/**
 * An index of the older layout as one more segment, of which only this process knows: all see its entries as they see
 * others. It is the oldest, so that where a segment of ours has an entry, that counts.
 */

import { formatEntries } from '../../cache-index/entries-blob.ts';
import * as mediaTypes from '../../cache-index/media-types.ts';
import { type SegmentConfig, segmentDescriptor } from '../../cache-index/segment.ts';
import { scanEntries } from '../../cache-index/segment-rows.ts';
import type { CallOptions } from '../../call-options.ts';
import { DEFAULT_STORE_DIR, hashPartOf } from '../../nix/store-path.ts';
import type { ReadOnlyStore, StoredManifest } from '../../oci/content-store.ts';
import { type Descriptor, describe } from '../../oci/descriptor.ts';
import { hexOf } from '../../oci/digest.ts';
import { fetchLegacyIndex, type LegacyIndex, rootRecords } from './legacy-index.ts';
import { type MirroredSegment, memorySegment } from './mirror.ts';
import type { OnProblem } from './problem.ts';

export interface LegacySegment {
  /** What a segment of ours would say beside its entries. Its tag is none of the repository's. */
  readonly record: {
    readonly tag: string;
    /** Of the manifest at `cache-index`. */
    readonly descriptor: Descriptor;
    readonly layers: readonly Descriptor[];
    readonly config: SegmentConfig;
  };
  /** Unix seconds: when entries count as asserted that do not say so themselves. */
  readonly time: number;
  readonly segment: MirroredSegment;
  /** Downloaded. */
  readonly bytes: number;
}

export interface ReadLegacyOptions extends CallOptions {
  readonly onProblem: OnProblem;
  /** What was read before, and is still the same if the manifest is. */
  readonly before: LegacySegment | undefined;
  readonly now: Date;
}

/** @throws {NixcacheError} ERR_INDEX, ERR_INDEX_VERSION, the registry's errors, and what `onProblem` throws */
export async function readLegacySegment(
  store: ReadOnlyStore,
  manifest: StoredManifest,
  options: ReadLegacyOptions,
): Promise<LegacySegment> {
  const { before, now } = options;
  const tag = `legacy-${hexOf(manifest.descriptor.digest)}`;
  if (before?.record.tag === tag) return before;
  const { index, bytes } = await fetchLegacyIndex(store, manifest, options);
  const text = Buffer.from(formatEntries(index.entries));
  const rows = scanEntries(text, `index of the older cache ${store.name}`, { maxEntries: index.entries.length });
  const entries = describe(mediaTypes.ENTRIES, text);
  const nars = index.entries.flatMap(({ nar }) =>
    nar.map(({ digest, length }): Descriptor => ({ mediaType: mediaTypes.NAR, digest, size: length })),
  );
  return {
    record: {
      tag,
      descriptor: segmentDescriptor(manifest.descriptor, tag, entries.size),
      layers: [entries, ...nars],
      config: configOf(index, manifest, now),
    },
    time: Math.floor(now.getTime() / 1000),
    segment: memorySegment(text, rows),
    bytes,
  };
}

function configOf(index: LegacyIndex, { descriptor }: StoredManifest, now: Date): SegmentConfig {
  const paths = new Map(index.entries.map(({ narInfo }) => [hashPartOf(narInfo.path), narInfo.path]));
  const hashes = [...paths.keys()].sort();
  return {
    formatVersion: mediaTypes.FORMAT_VERSION,
    creator: 'cmspam/nixcache-oci',
    created: now.toISOString(),
    storeDir: DEFAULT_STORE_DIR,
    entryCount: index.entries.length,
    firstHash: hashes[0],
    lastHash: hashes.at(-1),
    roots: rootRecords(index, descriptor.digest, (hashPart) => paths.get(hashPart)),
    pins: [],
    publicKeys: [...index.publicKeys],
  };
}
