/** A census of a cache as it was read: of its segments' records, and of their entries at hand. */
import type { SegmentConfig } from '../cache-index/segment.ts';
import { messageOf } from '../errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { Census, type CensusRow } from './census.ts';

/** A segment's record. */
export interface CountedRecord {
  readonly tag: string;
  readonly layers: readonly Descriptor[];
  readonly config: Pick<SegmentConfig, 'entryCount'>;
}

/** Its entries. */
export interface CountedEntries {
  /** Unix seconds: when those of its entries were asserted that do not say so themselves. */
  readonly time: number;
  readonly rows: { readonly count: number };
  /** @throws {NixcacheError} ERR_FORMAT */
  entryAt(row: number): CensusRow['entry'];
}

/** What gc, or whoever asks what gc would do, says instead of going on: `tag` cannot be read. */
export type StopCensus = (tag: string, why: string, cause?: unknown) => Error;

/** Adds a segment newer than all before it. Throws what `stop` makes, and ERR_INDEX. */
export function countSegment(
  census: Census,
  { tag, layers, config }: CountedRecord,
  entries: CountedEntries | undefined,
  stop: StopCensus,
): void {
  const { entryCount } = config;
  if (entries?.rows.count !== entryCount) {
    throw stop(tag, `it has ${entries?.rows.count ?? 'unreadable'} entries instead of ${entryCount}`);
  }
  census.addSegment(tag, layers, rowsOf(tag, entries, stop));
}

function* rowsOf(tag: string, { rows, time, entryAt }: CountedEntries, stop: StopCensus): Generator<CensusRow> {
  for (let row = 0; row < rows.count; row++) {
    let entry: CensusRow['entry'];
    try {
      entry = entryAt(row);
    } catch (error) {
      throw stop(tag, messageOf(error), error);
    }
    yield { entry, asserted: entry.asserted ?? time };
  }
}

/** A census of all `records`, oldest first. */
export function takeCensus(
  records: Iterable<CountedRecord>,
  entriesOf: ReadonlyMap<string, CountedEntries>,
  stop: StopCensus,
): Census {
  const census = new Census();
  for (const record of records) countSegment(census, record, entriesOf.get(record.tag), stop);
  return census;
}
