/** What an inspection found that has to be healed, entry by entry. Pure. */
import type { Entry } from '../cache-index/entry.ts';
import { hashPartsIn } from '../cache-index/segment-rows.ts';
import { EntryGraph } from '../census/entry-graph.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { Inspection } from './inspect.ts';
import type { ScannedSegment } from './scanned-segment.ts';

/** A row, and where it is. */
export interface RowPlace {
  readonly segment: ScannedSegment;
  readonly row: number;
}

/** The forms of one path. */
export interface Forms {
  /** The newest whose bytes are as they should be. */
  readonly good: RowPlace | undefined;
  /** The newest of all. */
  readonly newest: RowPlace;
  /** When any of them was last asserted, in Unix seconds. */
  readonly asserted: number;
}

/** Hash parts in the rows of `segment`. */
function* hashPartsOf(segment: ScannedSegment): Generator<{ readonly row: number; readonly hashPart: HashPart }> {
  let row = 0;
  for (const hashPart of hashPartsIn(segment.parts.rows)) yield { row: row++, hashPart };
}

/** All forms of the paths in `of`, by hash part. */
export function formsOf({ segments }: Inspection, of: Iterable<ScannedSegment>): Map<HashPart, Forms> {
  const forms = new Map<HashPart, Forms | undefined>();
  for (const segment of of) for (const { hashPart } of hashPartsOf(segment)) forms.set(hashPart, undefined);
  for (const segment of segments) {
    for (const { row, hashPart } of hashPartsOf(segment)) {
      if (!forms.has(hashPart)) continue;
      const held = forms.get(hashPart);
      const place = { segment, row };
      const isGood = segment.faults.get(row)?.nar === undefined;
      const asserted = segment.parts.entryAt(row).asserted ?? segment.parts.time;
      forms.set(hashPart, {
        good: isGood ? place : held?.good,
        newest: place,
        asserted: Math.max(asserted, held?.asserted ?? 0),
      });
    }
  }
  return new Map([...forms].flatMap(([hashPart, form]) => (form ? [[hashPart, form] as const] : [])));
}

export const entryAt = ({ segment, row }: RowPlace): Entry => segment.parts.entryAt(row);

/** Paths none of whose forms has its bytes. */
export function lostForms(inspection: Inspection): Map<HashPart, Forms> {
  const damaged = inspection.segments.filter(({ isDamaged }) => isDamaged);
  return new Map([...formsOf(inspection, damaged)].filter(([, { good }]) => good === undefined));
}

/**
 * All paths that need one in `broken`, directly or not, with the path that each needs. `isElsewhere` says which of what
 * is newly found upstream has: what refers to those stays whole.
 */
export async function dependentsOf(
  inspection: Inspection,
  broken: Iterable<HashPart>,
  isElsewhere: (hashParts: readonly HashPart[]) => Promise<ReadonlySet<HashPart>>,
): Promise<Map<HashPart, HashPart>> {
  const graph = EntryGraph.of(entriesOf(inspection));
  const known = new Set(broken);
  const found = new Map<HashPart, HashPart>();
  let open = [...known];
  while (open.length > 0) {
    const elsewhere = await isElsewhere(open);
    const next: HashPart[] = [];
    for (const hashPart of open) {
      if (elsewhere.has(hashPart)) continue;
      for (const dependent of graph.dependentsOf(hashPart)) {
        if (known.has(dependent)) continue;
        known.add(dependent);
        found.set(dependent, hashPart);
        next.push(dependent);
      }
    }
    open = next;
  }
  return found;
}

function* entriesOf({ segments }: Inspection): Generator<{ readonly entry: Entry }> {
  for (const segment of segments) yield* segment.entries();
}
