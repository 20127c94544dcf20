/** Caches for `verify` to look into, and segments that are not as they should be. */
import { zstdCompressSync } from 'node:zlib';
import { replaceCacheIndex } from '../../src/cache/write/cache-index.ts';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { formatEntries } from '../../src/cache-index/entries-blob.ts';
import type { Entry } from '../../src/cache-index/entry.ts';
import * as mediaTypes from '../../src/cache-index/media-types.ts';
import { type EncodedSegment, encodeSegment } from '../../src/cache-index/segment.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { describe as describeBytes } from '../../src/oci/descriptor.ts';
import { hexOf } from '../../src/oci/digest.ts';
import { encodeManifest, IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { CacheBuilder, openReader, readView } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { segmentAt, tagsOf } from '../support/vandal.ts';

/** A library in a pack, an application in a blob of its own, each a segment. */
export async function filled(store: ContentStore): Promise<CacheBuilder> {
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['lib', 'other'] });
  await cache.publish({
    at: day(1),
    paths: [{ name: 'app', references: ['lib'], bytes: 5000 }],
    packed: false,
    roots: ['app'],
  });
  return cache;
}

/** All entries of the cache, newest form. */
export const entriesOf = async (store: ContentStore): Promise<Entry[]> =>
  [...(await openReader(store)).entries()].map(({ entry }) => entry);

/** Commits `entries` as a segment whose entries text is what `change` makes of the right one. */
export async function commitAltered(
  store: ContentStore,
  entries: readonly Entry[],
  change: { text?: (text: string) => string; config?: (config: Record<string, unknown>) => object; layers?: boolean },
): Promise<EncodedSegment> {
  const blobs = await Promise.all(
    [...new Set(entries.flatMap((entry) => [...entry.nar, ...(entry.listing?.extents ?? [])]))].map(async (at) => {
      for (const tag of await tagsOf(store, 'segment')) {
        const held = (await segmentAt(store, tag)).manifest.layers.find(({ digest }) => digest === at.digest);
        if (held) return held;
      }
      throw new Error(`${at.digest} is in no segment`);
    }),
  );
  const unique = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
  const segment = encodeSegment({ entries, blobs: unique, storeDir: '/nix/store', creator: 'test', now: day(5) });
  const text = (change.text ?? ((same) => same))(formatEntries(entries));
  const blob = zstdCompressSync(text);
  const entriesDescriptor = describeBytes(mediaTypes.ENTRIES, blob);
  const config = JSON.parse(String(segment.blobs[1]?.bytes)) as Record<string, unknown>;
  const configBytes = Buffer.from(JSON.stringify({ ...config, ...change.config?.(config) }));
  const configDescriptor = describeBytes(mediaTypes.SEGMENT_CONFIG, configBytes);
  const tag = `${segment.tag.slice(0, 31)}${hexOf(entriesDescriptor.digest)}`;
  const manifest = encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    artifactType: mediaTypes.SEGMENT,
    config: configDescriptor,
    layers: [entriesDescriptor, ...(change.layers === false ? [] : unique)],
    annotations: { [mediaTypes.TAG_ANNOTATION]: tag },
  });
  const altered = {
    ...segment,
    tag,
    manifest,
    blobs: [
      { descriptor: entriesDescriptor, bytes: blob },
      { descriptor: configDescriptor, bytes: configBytes },
    ],
  };
  await commitSegment(store, altered, {});
  return altered;
}

/** Points `cache-index` at what is there, so that its being stale is no finding. */
export async function reindex(store: ContentStore): Promise<void> {
  const segments = new Map();
  for (const tag of (await readView(store)).live.segments) segments.set(tag, await segmentDescriptorAt(store, tag));
  await replaceCacheIndex(store, { segments, publicKeys: [], now: day(9) });
}
export const segmentDescriptorAt = async (store: ContentStore, tag: string) => ({
  ...(await segmentAt(store, tag)).descriptor,
  annotations: { [mediaTypes.TAG_ANNOTATION]: tag },
});
