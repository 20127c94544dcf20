/**
 * Which segments of a cache can be taken over byte for byte, and in which order, so that the destination is closed after
 * each: every reference of a segment is in it, at the destination, or in one before it. That holds for what publishers
 * write, oldest first. Segments that a compaction wrote refer to each other in circles: their entries are written anew,
 * references first.
 */
import type { IndexReader } from '../cache/read/index-reader.ts';
import type { HeldSegment } from '../cache/read/loaded-entries.ts';
import type { Entry } from '../cache-index/entry.ts';
import { EntryTable } from '../cache-index/entry-table.ts';
import { hashPartsIn } from '../cache-index/segment-rows.ts';
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
  /** By the tag of a whole segment, how many entries it is the first to bring. */
  readonly brings: ReadonlyMap<string, number>;
  /** Whether the destination has an entry, or gets it with a whole segment. */
  readonly has: (hashPart: HashPart) => boolean;
}

export function planSegments({ source, destination, isEligible }: SegmentPlanInput): SegmentPlan {
  const view = destination.view;
  const there = new Set(view?.live.segments);
  const gained = new EntryTable();
  const has = (hashPart: HashPart): boolean => destination.has(hashPart) || gained.find(hashPart) !== undefined;
  const whole: HeldSegment[] = [];
  const brings = new Map<string, number>();
  const apart: HeldSegment[] = [];
  const open: HeldSegment[] = [];
  for (const segment of source.segments()) {
    if (there.has(segment.tag)) continue;
    // What a gc of the destination made dead would be dead on arrival.
    if (view?.live.replaced.has(segment.tag) || isRedundant(segment, destination) || !isEligible(segment)) {
      apart.push(segment);
    } else open.push(segment);
  }
  const waiting = new Map<HashPart, Waiting[]>();
  const go = (first: Waiting): void => {
    const ready = [first];
    for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
      const lacking = next.lacking.next();
      if (!lacking.done) {
        const others = waiting.get(lacking.value) ?? [];
        others.push(next);
        waiting.set(lacking.value, others);
        continue;
      }
      whole.push(next.segment);
      brings.set(next.segment.tag, countLacking(next.segment, has));
      gained.add(next.segment.rows);
      if (waiting.size === 0) continue;
      for (const hashPart of hashPartsIn(next.segment.rows)) {
        for (const other of waiting.get(hashPart) ?? []) ready.push(other);
        waiting.delete(hashPart);
      }
    }
  };
  for (const segment of open) go({ segment, lacking: lackingIn(segment, source, has) });
  const taken = new Set(whole);
  return { whole, apart: [...apart, ...open.filter((segment) => !taken.has(segment))], brings, has };
}

/** A segment, and what it still lacks: asked again once that is there, it goes on from where it was. */
interface Waiting {
  readonly segment: HeldSegment;
  readonly lacking: Iterator<HashPart>;
}

export function* entriesOf(segment: HeldSegment): Generator<Entry> {
  for (let row = 0; row < segment.rows.count; row++) yield segment.entryAt(row);
}

function countLacking({ rows }: HeldSegment, has: SegmentPlan['has']): number {
  let count = 0;
  for (const hashPart of hashPartsIn(rows)) if (!has(hashPart)) count++;
  return count;
}

/** Whether the destination has every entry, asserted as late or later; a segment of records alone never is. */
function isRedundant(segment: HeldSegment, destination: IndexReader): boolean {
  for (const entry of entriesOf(segment)) {
    const held = destination.findAsserted(hashPartOf(entry.narInfo.path));
    if (!held || held.asserted < (entry.asserted ?? segment.time)) return false;
  }
  return segment.rows.count > 0;
}

/** References that are neither in the segment itself nor had by now, one at a time. */
function* lackingIn(
  segment: HeldSegment,
  source: IndexReader,
  has: (hashPart: HashPart) => boolean,
): Generator<HashPart> {
  const own = EntryTable.of([segment.rows]);
  for (const { narInfo } of entriesOf(segment)) {
    for (const reference of narInfo.references) {
      const hashPart = hashPartOf(reference);
      // What the source lacks too lies upstream.
      if (!own.find(hashPart) && !has(hashPart) && source.has(hashPart)) yield hashPart;
    }
  }
}
