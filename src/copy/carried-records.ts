/** The roots and pins that a copy takes along, beside those in segments and checkpoints taken over as they are. */

import type { IndexReader } from '../cache/read/index-reader.ts';
import { fetchRecords, recordsBeyond } from '../cache/read/stored-records.ts';
import type { Root, SegmentRecords } from '../cache-index/records.ts';
import { NO_RECORDS } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import { baseNameOf, nameOf, type StorePath } from '../nix/store-path.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';

/** A day: copies are run by timers, and gc counts retention in days. */
const RECORD_EVERY_SECONDS = 24 * 60 * 60;

export interface KnownRecordsOptions extends CallOptions {
  readonly destination: ReadOnlyStore;
  readonly reader: IndexReader;
}

/** What of `records` the destination does not have. */
export async function unknownRecords(records: SegmentRecords, options: KnownRecordsOptions): Promise<SegmentRecords> {
  const { destination, reader, signal } = options;
  if (records.roots.length + records.pins.length === 0 || !reader.view) return NO_RECORDS;
  return recordsBeyond(records, await fetchRecords(destination, reader.view, { signal }));
}

export interface NewRootsOptions extends KnownRecordsOptions {
  readonly run: string;
  readonly now: () => Date;
  /** Whether entries are written with them anyway: then asking what is known is not worth it. */
  readonly withEntries: boolean;
}

/** Roots for `paths`, as `push` makes them; none that the destination has from less than a day ago. */
export async function newRoots(paths: readonly StorePath[], options: NewRootsOptions): Promise<readonly Root[]> {
  const { destination, reader, run, now, withEntries, signal } = options;
  const time = Math.floor(now().getTime() / 1000);
  const roots = paths.map((path) => ({ name: nameOf(path), path: baseNameOf(path), time, run }));
  if (withEntries || roots.length === 0 || !reader.view) return roots;
  const known = await fetchRecords(destination, reader.view, { signal });
  const fresh = known.roots.filter((root) => root.time > time - RECORD_EVERY_SECONDS);
  const keys = new Set(fresh.map(({ name, path }) => `${name} ${path}`));
  return roots.filter(({ name, path }) => !keys.has(`${name} ${path}`));
}
