/**
 * `cache-index`: a list of the live segments that follows the tags as a convenience for readers. It may fail, be lost or be
 * stale, and nothing is lost with it.
 */

import pLimit from 'p-limit';
import { tagOf } from '../../cache-index/checkpoint.ts';
import { byTime } from '../../cache-index/live-set.ts';
import * as mediaTypes from '../../cache-index/media-types.ts';
import { segmentDescriptor } from '../../cache-index/segment.ts';
import { CACHE_INDEX_TAG } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { encodeManifest, IMAGE_INDEX, MAX_MANIFEST_BYTES } from '../../oci/manifest.ts';
import { decodeCacheIndex } from '../read/entry-point.ts';
import type { CacheView } from '../read/view.ts';
import { CONCURRENT_REQUESTS } from './limits.ts';

export interface CacheIndexUpdate extends CallOptions {
  /** Segments that this writer committed, as it described them. */
  readonly added: readonly Descriptor[];
  /** The view that this writer worked from. */
  readonly view: CacheView;
  /** Tags that a checkpoint of this writer made dead. */
  readonly replaced?: readonly string[];
  readonly publicKeys: readonly string[];
  /** A manifest at `cache-index` that is not of our layout and may be overwritten: all it says has been taken over. */
  readonly overwrites?: Digest | undefined;
  readonly sourceUrl?: string | undefined;
  readonly now: Date;
}

/**
 * Points `cache-index` at every live segment that this writer knows. What keeps it from that is a warning: readers find the
 * segments by their tags.
 *
 * @throws {NixcacheError} ERR_INTERRUPTED when the signal stopped it
 */
export async function updateCacheIndex(
  store: ContentStore,
  update: CacheIndexUpdate,
  onWarning: (message: string) => void,
): Promise<void> {
  try {
    await refreshCacheIndex(store, update);
  } catch (error) {
    if (update.signal?.aborted) {
      throw new NixcacheError('ERR_INTERRUPTED', 'interrupted after everything was committed', { cause: error });
    }
    const comfort = 'what was written is there, readers take a little longer to see it';
    onWarning(`cache-index was not updated (${messageOf(error)}): ${comfort}`);
  }
}

/** The same, for those who must know: throws like any push. */
export async function refreshCacheIndex(store: ContentStore, update: CacheIndexUpdate): Promise<void> {
  const { view, signal } = update;
  const current = await store.fetchManifest(CACHE_INDEX_TAG, { signal });
  const isOurs = current && current.descriptor.digest !== update.overwrites;
  const index = isOurs ? decodeCacheIndex(current, store.name) : undefined;
  const dead = new Set([...view.live.replaced, ...(update.replaced ?? [])]);
  const known = new Map<string, Descriptor>();
  const learn = (descriptor: Descriptor): void => {
    const tag = tagOf(descriptor);
    if (tag !== undefined && !dead.has(tag)) known.set(tag, descriptor);
  };
  for (const descriptor of view.descriptors.values()) learn(descriptor);
  for (const descriptor of index?.manifests ?? []) learn(descriptor);
  for (const descriptor of update.added) learn(descriptor);
  const limit = pLimit(CONCURRENT_REQUESTS);
  await Promise.all(
    view.live.segments
      .filter((tag) => !known.has(tag) && !dead.has(tag))
      .map((tag) =>
        limit(async () => {
          const descriptor = await store.resolve(tag, { signal });
          if (descriptor) known.set(tag, segmentDescriptor(descriptor, tag));
        }),
      ),
  );
  const keys = [
    ...new Set([
      ...(index?.annotations?.[mediaTypes.PUBLIC_KEYS_ANNOTATION] ?? '').split(' ').filter((key) => key !== ''),
      ...update.publicKeys,
    ]),
  ];
  try {
    await store.pushManifest(CACHE_INDEX_TAG, IMAGE_INDEX, encodeCacheIndex(known, keys, update), { signal });
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw error;
    // A segment was deleted since the view was read: list only what still has a manifest.
    await Promise.all(
      [...known.keys()].map((tag) =>
        limit(async () => {
          if (!(await store.resolve(tag, { signal }))) known.delete(tag);
        }),
      ),
    );
    await store.pushManifest(CACHE_INDEX_TAG, IMAGE_INDEX, encodeCacheIndex(known, keys, update), { signal });
  }
}

export interface CacheIndexReplacement extends CallOptions {
  /** Every live segment, by tag. */
  readonly segments: ReadonlyMap<string, Descriptor>;
  readonly publicKeys: readonly string[];
  readonly sourceUrl?: string | undefined;
  readonly now: Date;
}

/** Writes `cache-index` without regard to what it says: it is damaged, or known to be wrong. */
export async function replaceCacheIndex(store: ContentStore, replacement: CacheIndexReplacement): Promise<void> {
  const { segments, publicKeys, signal } = replacement;
  const bytes = encodeCacheIndex(segments, publicKeys, replacement);
  await store.pushManifest(CACHE_INDEX_TAG, IMAGE_INDEX, bytes, { signal });
}

/** The newest segments, as many as fit: readers find the others by their tags. */
function encodeCacheIndex(
  segments: ReadonlyMap<string, Descriptor>,
  publicKeys: readonly string[],
  update: Pick<CacheIndexUpdate, 'sourceUrl' | 'now'>,
): Buffer {
  let manifests = [...segments].sort(([a], [b]) => byTime(a, b)).map(([, descriptor]) => descriptor);
  for (;;) {
    const bytes = encodeManifest({
      schemaVersion: 2,
      mediaType: IMAGE_INDEX,
      artifactType: mediaTypes.CACHE_INDEX,
      manifests,
      annotations: {
        [mediaTypes.TAG_ANNOTATION]: CACHE_INDEX_TAG,
        [mediaTypes.VERSION_ANNOTATION]: String(mediaTypes.FORMAT_VERSION),
        [mediaTypes.CREATED_ANNOTATION]: update.now.toISOString(),
        ...(publicKeys.length > 0 ? { [mediaTypes.PUBLIC_KEYS_ANNOTATION]: publicKeys.join(' ') } : {}),
        ...(update.sourceUrl ? { [mediaTypes.SOURCE_ANNOTATION]: update.sourceUrl } : {}),
      },
    });
    if (bytes.length <= MAX_MANIFEST_BYTES) return bytes;
    manifests = manifests.slice(Math.ceil(manifests.length / 10));
  }
}
