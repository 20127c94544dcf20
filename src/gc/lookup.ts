/** The look-up table that a new checkpoint carries, of all that is live once it counts. */
import { encodeLookup, type LookupEntry, type LookupSegment } from '../cache-index/lookup-table.ts';
import type { Census } from '../census/census.ts';
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
  const stay = new Set(untouched);
  const segments: LookupSegment[] = census.segments
    .filter(({ tag }) => stay.has(tag))
    .map(({ tag, start, end }) => ({ tag, ...segmentOf(() => range(start, end), end - start, census) }));
  for (const { tag, rows } of written) segments.push({ tag, ...segmentOf(() => rows, rows.length, census) });
  const total = segments.reduce((sum, { count }) => sum + count, 0);
  return total < fromEntries ? undefined : encodeLookup(storeDir, segments);
}

const segmentOf = (rows: () => Iterable<number>, count: number, census: Census): Omit<LookupSegment, 'tag'> => ({
  ...{ count, signers: census.signersOf(rows()) },
  entries: entriesOf(rows(), census),
});

/** One at a time: a million at once would be some 200 MB. */
function* entriesOf(rows: Iterable<number>, census: Census): Generator<LookupEntry> {
  for (const row of rows) {
    yield { hashPart: census.hashPartOf(census.pathOf(row)), asserted: census.assertedOf(row) };
  }
}

function* range(start: number, end: number): Generator<number> {
  for (let i = start; i < end; i++) yield i;
}
