/** The roots and pins that a cache holds: they lie in the configs of segments and checkpoints, not in the index. */

import pLimit from 'p-limit';
import { mergeRecords, NO_RECORDS, type SegmentRecords } from '../../cache-index/records.ts';
import type { CallOptions } from '../../call-options.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import { readError } from './problem.ts';
import { fetchSegmentRecord } from './segment-record.ts';
import type { CacheView } from './view.ts';

const CONCURRENT_FETCHES = 16;

/**
 * All records that count in `view`, each once.
 *
 * @throws {NixcacheError} ERR_INDEX when one cannot be read: what it names would be taken for not needed
 */
export async function fetchRecords(
  store: ReadOnlyStore,
  view: CacheView,
  options: CallOptions = {},
): Promise<SegmentRecords> {
  const limit = pLimit(CONCURRENT_FETCHES);
  const segments = await Promise.all(
    view.live.segments.map((tag) => limit(() => fetchSegmentRecords(store, view, tag, options))),
  );
  const checkpoints = view.live.checkpoints.flatMap((tag) => view.checkpoints.get(tag) ?? []);
  return mergeRecords([...segments, ...checkpoints]);
}

/** The records of one live segment. */
export async function fetchSegmentRecords(
  store: ReadOnlyStore,
  view: CacheView,
  tag: string,
  options: CallOptions = {},
): Promise<SegmentRecords> {
  try {
    const record = await fetchSegmentRecord(tag, view, { ...options, store });
    return record?.config ?? NO_RECORDS;
  } catch (error) {
    throw readError(error, `segment ${tag} of ${store.name}`);
  }
}

/** What of `records` is not among `known`. */
export function recordsBeyond(records: SegmentRecords, known: SegmentRecords): SegmentRecords {
  const union = mergeRecords([known, records]);
  const isKnown = new Set<object>([...known.roots, ...known.pins].map((record) => record));
  return {
    roots: union.roots.filter((root) => !isKnown.has(root)),
    pins: union.pins.filter((pin) => !isKnown.has(pin)),
  };
}
