/** The look-up table that a new checkpoint carries, of all that is live once it counts. */
import { encodeLookup, type LookupEntry, type LookupSegment } from '../cache-index/lookup-table.ts';
import type { Survey } from './survey.ts';

/** Below, the entries themselves are some megabytes, and fetching them is as good. */
export const DEFAULT_LOOKUP_FROM_ENTRIES = 10_000;

export interface LookupInput {
  /** Segments that stay as they are. */
  readonly untouched: readonly string[];
  /** Segments that were written, with their rows in the census, by store hash. */
  readonly written: readonly { readonly tag: string; readonly rows: readonly number[] }[];
  readonly fromEntries: number;
}

/** Undefined when there are too few entries for it to be of use. */
export function lookupOf({ untouched, written, fromEntries }: LookupInput, survey: Survey): Buffer | undefined {
  const { census, storeDir } = survey;
  const entryOf = (row: number): LookupEntry => ({
    hashPart: census.hashPartOf(census.pathOf(row)),
    asserted: census.assertedOf(row),
  });
  const stay = new Set(untouched);
  const segments: LookupSegment[] = census.segments
    .filter(({ tag }) => stay.has(tag))
    .map(({ tag, start, end }) => ({
      tag,
      entries: Array.from({ length: end - start }, (_, i) => entryOf(start + i)),
    }));
  for (const { tag, rows } of written) segments.push({ tag, entries: rows.map(entryOf) });
  const count = segments.reduce((sum, { entries }) => sum + entries.length, 0);
  return count < fromEntries ? undefined : encodeLookup(storeDir, segments);
}
