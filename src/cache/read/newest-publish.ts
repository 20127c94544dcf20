/** When a cache was last published to: not when a gc or a pin listed again what it keeps. */
import { parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import { fetchSegmentRecord, type SegmentRecord } from './segment-record.ts';
import { checkpointsOf } from './stored-records.ts';
import type { CacheView } from './view.ts';

/** By its writer's clock, as the segments in `records` and all checkpoints tell it. */
export function newestPublish(view: CacheView, records: Iterable<SegmentRecord>): Date | undefined {
  return new NewestPublish(view).with(records).time;
}

/** The same of all live segments, of which only so many are fetched as could be newer. */
export async function fetchNewestPublish(
  view: CacheView,
  options: CallOptions & { readonly store: ReadOnlyStore },
): Promise<Date | undefined> {
  const newest = new NewestPublish(view);
  for (const tag of view.live.segments.toReversed()) {
    if (timeOf(tag) <= newest.published) break; // nothing that a segment says is newer than it
    const record = await fetchSegmentRecord(tag, view, options);
    if (record) newest.with([record]);
  }
  return newest.time;
}

/** Times are Unix milliseconds. */
class NewestPublish {
  readonly #compacted: ReadonlySet<string>;
  published = Number.NEGATIVE_INFINITY;
  #compactedAt = Number.NEGATIVE_INFINITY;

  constructor(view: CacheView) {
    const checkpoints = checkpointsOf(view);
    this.#compacted = new Set(checkpoints.flatMap(({ segments }) => segments));
    for (const { roots } of checkpoints) this.#addRoots(roots);
  }

  /** Of segments that a gc wrote, or left, nothing but the time is to be had: it counts where nothing else does. */
  get time(): Date | undefined {
    const time = this.published > Number.NEGATIVE_INFINITY ? this.published : this.#compactedAt;
    return time === Number.NEGATIVE_INFINITY ? undefined : new Date(time);
  }

  with(records: Iterable<SegmentRecord>): this {
    for (const { tag, config } of records) {
      this.#addRoots(config.roots);
      if (config.entryCount === 0) continue;
      if (this.#compacted.has(tag)) this.#compactedAt = Math.max(this.#compactedAt, timeOf(tag));
      else if (!isOfPin(config)) this.published = Math.max(this.published, timeOf(tag));
    }
    return this;
  }

  /** Roots carry their own time. */
  #addRoots(roots: SegmentRecord['config']['roots']): void {
    for (const { time } of roots) this.published = Math.max(this.published, time * 1000);
  }
}

const timeOf = (tag: string): number => parseTag(tag)?.time ?? Number.NEGATIVE_INFINITY;

const isOfPin = ({ roots, pins }: SegmentRecord['config']): boolean => pins.length > 0 && roots.length === 0;
