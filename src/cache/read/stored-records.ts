/** The roots and pins that a cache holds: they lie in the configs of segments and checkpoints, not in the index. */

import type { CheckpointConfig } from '../../cache-index/checkpoint.ts';
import { mergeRecords, NO_RECORDS, type SegmentRecords } from '../../cache-index/records.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf } from '../../errors.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import { type OnProblem, readError, stopAtProblems } from './problem.ts';
import { fetchSegmentRecord, type SegmentRecord } from './segment-record.ts';
import type { CacheView } from './view.ts';

export interface ReadRecordsOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly onProblem: OnProblem;
  /** Of a segment that was deleted and that a stale `cache-index` still lists. */
  readonly onStale?: ((message: string) => void) | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Manifests and configs fetched at once, and held until their turn has come: enough to hide 50 ms of latency. */
const CONCURRENT_FETCHES = 16;

/** The records of live segments, oldest first, less those that `onProblem` lets pass. */
export async function* readRecords(view: CacheView, options: ReadRecordsOptions): AsyncGenerator<SegmentRecord> {
  const { onProgress } = options;
  const tags = view.live.segments;
  const ahead: Promise<SegmentRecord | undefined>[] = [];
  let begun = 0;
  for (let done = 1; done <= tags.length; done++) {
    for (const tag of tags.slice(begun, done + CONCURRENT_FETCHES - 1)) {
      const reading = readRecord(tag, view, options);
      reading.catch(() => undefined); // thrown in its turn, or not at all after another's error
      ahead.push(reading);
      begun++;
    }
    const record = await ahead.shift();
    onProgress?.(done, tags.length);
    if (record) yield record;
  }
}

async function readRecord(
  tag: string,
  view: CacheView,
  options: ReadRecordsOptions,
): Promise<SegmentRecord | undefined> {
  const { store, signal, onProblem, onStale } = options;
  const what = `segment ${tag} of ${store.name}`;
  try {
    const record = await fetchSegmentRecord(tag, view, { store, signal });
    if (!record) onStale?.(`${what} was deleted, though cache-index still lists it: it is left out`);
    return record;
  } catch (cause) {
    signal?.throwIfAborted();
    const error = readError(cause, what);
    onProblem({ part: 'config', tag, error, warning: `roots and pins may be missing: ${messageOf(error)}` });
    return undefined;
  }
}

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
  const found: SegmentRecords[] = [];
  for await (const { config } of readRecords(view, { ...options, store, onProblem: stopAtProblems })) {
    found.push({ roots: config.roots, pins: config.pins });
  }
  return mergeRecords([...found, ...checkpointsOf(view)]);
}

/** The records of one live segment. */
export async function fetchSegmentRecords(
  store: ReadOnlyStore,
  view: CacheView,
  tag: string,
  options: CallOptions = {},
): Promise<SegmentRecords> {
  const record = await readRecord(tag, view, { ...options, store, onProblem: stopAtProblems });
  return record?.config ?? NO_RECORDS;
}

/** What the live checkpoints of `view` carry. */
export const checkpointsOf = (view: CacheView): CheckpointConfig[] =>
  view.live.checkpoints.flatMap((tag) => view.checkpoints.get(tag) ?? []);

/** What of `records` is not among `known`. */
export function recordsBeyond(records: SegmentRecords, known: SegmentRecords): SegmentRecords {
  const union = mergeRecords([known, records]);
  const isKnown = new Set<object>([...known.roots, ...known.pins].map((record) => record));
  return {
    roots: union.roots.filter((root) => !isKnown.has(root)),
    pins: union.pins.filter((pin) => !isKnown.has(pin)),
  };
}
