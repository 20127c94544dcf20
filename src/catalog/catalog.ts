/**
 * All that a cache says of itself: its entries, as the reader holds them, and its roots, pins and keys, which lie in the
 * configs of segments and checkpoints. Lenient: what cannot be read is told of and left out.
 */

import pLimit from 'p-limit';
import type { IndexReader } from '../cache/read/index-reader.ts';
import { readError } from '../cache/read/problem.ts';
import { fetchSegmentRecord, type SegmentRecord } from '../cache/read/segment-record.ts';
import type { CacheView } from '../cache/read/view.ts';
import { currentPins, mergePins, mergeRoots, type Pin, type Root } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf } from '../errors.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';

export interface Catalog {
  readonly reader: IndexReader;
  readonly view: CacheView;
  /** Those that could be read, oldest first. */
  readonly segments: readonly SegmentRecord[];
  /** All records, oldest first. */
  readonly roots: readonly Root[];
  /** All records, oldest first: also of what was moved or removed since. */
  readonly pins: readonly Pin[];
  /** Those in force, by name. */
  readonly currentPins: readonly Pin[];
  /** Signing keys that publishers named, `name:base64`. */
  readonly publicKeys: readonly string[];
  /** What could not be read, and why: with it, gc stops. */
  readonly unreadable: readonly string[];
}

export interface CatalogOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  /** Over the same store; refreshed here. */
  readonly reader: IndexReader;
  readonly onWarning: (message: string) => void;
}

/** Manifests and configs fetched at once: enough to hide 50 ms of latency. */
const CONCURRENT_FETCHES = 16;

/** @throws {NixcacheError} when the cache cannot be read at all */
export async function readCatalog(options: CatalogOptions): Promise<Catalog> {
  const { reader, onWarning, signal } = options;
  await reader.refresh({ signal });
  const { view } = reader;
  if (!view) throw new Error('the reader was never refreshed');
  const limit = pLimit(CONCURRENT_FETCHES);
  const unreadable: string[] = [];
  const read = async (tag: string): Promise<SegmentRecord | undefined> => {
    try {
      return await fetchSegmentRecord(tag, view, options);
    } catch (error) {
      signal?.throwIfAborted();
      const reason = messageOf(readError(error, `segment ${tag} of ${reader.name}`));
      unreadable.push(reason);
      onWarning(`roots and pins may be missing: ${reason}`);
      return undefined;
    }
  };
  const records = await Promise.all(view.live.segments.map((tag) => limit(read, tag)));
  const segments = records.filter((record) => record !== undefined);
  const sources = [
    ...segments.map(({ config }) => config),
    ...view.live.checkpoints.flatMap((tag) => view.checkpoints.get(tag) ?? []),
  ];
  const pins = mergePins(...sources.map((source) => source.pins));
  return {
    ...{ reader, view, segments, pins, unreadable },
    roots: mergeRoots(...sources.map(({ roots }) => roots)),
    currentPins: currentPins(pins).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    publicKeys: [...new Set([...view.publicKeys, ...sources.flatMap(({ publicKeys }) => publicKeys)])].sort(),
  };
}
