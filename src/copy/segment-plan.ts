/**
 * Which segments of a cache can be taken over byte for byte, and in which order, so that the destination is closed after
 * each: every reference of a segment is in it, at the destination, or in one before it. That holds for what publishers
 * write, oldest first. Segments that a compaction wrote refer to each other in circles: their entries are written anew,
 * references first.
 */
import type { HeldSegment, IndexReader } from '../cache/read/index-reader.ts';
import type { Entry } from '../cache-index/entry.ts';
import { EntryTable } from '../cache-index/entry-table.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';

export interface SegmentPlanInput {
  readonly source: IndexReader;
  readonly destination: IndexReader;
  /** Whether a segment may be taken as it is, for reasons other than its references. */
  readonly isEligible: (segment: HeldSegment) => boolean;
}

export interface SegmentPlan {
  /** Taken over byte for byte, in this order. */
  readonly whole: readonly HeldSegment[];
  /** Whose entries the destination has, or gets one by one. */
  readonly apart: readonly HeldSegment[];
  /** Whether the destination has an entry, or gets it with a whole segment. */
  readonly has: (hashPart: HashPart) => boolean;
}

export function planSegments({ source, destination, isEligible }: SegmentPlanInput): SegmentPlan {
  const view = destination.view;
  const there = new Set(view?.live.segments);
  const gained = new EntryTable();
  const has = (hashPart: HashPart): boolean => destination.has(hashPart) || gained.find(hashPart) !== undefined;
  const whole: HeldSegment[] = [];
  const apart: HeldSegment[] = [];
  let open: HeldSegment[] = [];
  for (const segment of source.segments()) {
    if (there.has(segment.tag)) continue;
    // What a gc of the destination made dead would be dead on arrival.
    if (view?.live.replaced.has(segment.tag) || isRedundant(segment, destination) || !isEligible(segment)) {
      apart.push(segment);
    } else open.push(segment);
  }
  for (let before = -1; before !== open.length; ) {
    before = open.length;
    open = open.filter((segment) => {
      if (!isClosed(segment, source, has)) return true;
      whole.push(segment);
      gained.add(segment.rows);
      return false;
    });
  }
  return { whole, apart: [...apart, ...open], has };
}

export function* entriesOf(segment: HeldSegment): Generator<Entry> {
  for (let row = 0; row < segment.rows.count; row++) yield segment.entryAt(row);
}

/** Whether the destination has every entry, asserted as late or later; a segment of records alone never is. */
function isRedundant(segment: HeldSegment, destination: IndexReader): boolean {
  for (const entry of entriesOf(segment)) {
    const held = destination.findAsserted(hashPartOf(entry.narInfo.path));
    if (!held || held.asserted < (entry.asserted ?? segment.time)) return false;
  }
  return segment.rows.count > 0;
}

function isClosed(segment: HeldSegment, source: IndexReader, has: (hashPart: HashPart) => boolean): boolean {
  const own = new Set<HashPart>();
  for (const { narInfo } of entriesOf(segment)) own.add(hashPartOf(narInfo.path));
  for (const { narInfo } of entriesOf(segment)) {
    for (const reference of narInfo.references) {
      const hashPart = hashPartOf(reference);
      // What the source lacks too lies upstream.
      if (!own.has(hashPart) && !has(hashPart) && source.has(hashPart)) return false;
    }
  }
  return true;
}
