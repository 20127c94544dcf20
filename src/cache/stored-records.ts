/** The roots and pins that a cache holds: they lie in the configs of segments and checkpoints, not in the index. */
import pLimit from 'p-limit';
import { mergePins, mergeRoots, type Pin, type Root } from '../cache-index/records.ts';
import { decodeSegmentConfig, MAX_CONFIG_BYTES, type SegmentConfig } from '../cache-index/segment.ts';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import type { CallOptions, ReadOnlyStore } from '../oci/content-store.ts';
import { decodeImageManifest } from '../oci/manifest.ts';
import { readBounded } from '../oci/verify.ts';
import type { SegmentRecords } from './segment-writer.ts';
import { type CacheView, readError } from './view.ts';

const CONCURRENT_FETCHES = 16;

/**
 * All records that count in `view`, each once.
 *
 * @throws {NixcacheError} ERR_INDEX when one cannot be read: going on would take what it names for not needed
 */
export async function fetchRecords(
  store: ReadOnlyStore,
  view: CacheView,
  options: CallOptions = {},
): Promise<SegmentRecords> {
  const limit = pLimit(CONCURRENT_FETCHES);
  const configs = await Promise.all(
    view.live.segments.map((tag) => limit(() => fetchSegmentRecords(store, view, tag, options))),
  );
  const checkpoints = view.live.checkpoints.flatMap((tag) => view.checkpoints.get(tag) ?? []);
  const all = [...configs.filter((config) => config !== undefined), ...checkpoints];
  return merge(all);
}

/** Each record once. */
export const merge = (
  all: readonly { readonly roots: readonly Root[]; readonly pins: readonly Pin[] }[],
): SegmentRecords => ({
  roots: mergeRoots(...all.map(({ roots }) => roots)),
  pins: mergePins(...all.map(({ pins }) => pins)),
});

/** The config of the segment `tag`; undefined when only a stale `cache-index` still names it. */
export async function fetchSegmentRecords(
  store: ReadOnlyStore,
  view: CacheView,
  tag: string,
  options: CallOptions = {},
): Promise<SegmentConfig | undefined> {
  const what = `segment ${tag} of ${store.name}`;
  try {
    const manifest = await store.fetchManifest(tag, options);
    if (!manifest) {
      if (!view.tags.has(tag)) return undefined;
      throw new NixcacheError('ERR_NOT_FOUND', `${what} has no manifest`);
    }
    const { config } = decodeImageManifest(manifest.bytes, what);
    const bytes = await readBounded(await store.fetchBlob(config, options), MAX_CONFIG_BYTES, what);
    return decodeSegmentConfig(bytes, `config of ${what}`);
  } catch (error) {
    throw isNixcacheError(error, 'ERR_NOT_FOUND') ? readError(error, what) : error;
  }
}
