/** Roots and pins for whoever asks again and again: those of a segment are fetched once, for it never changes. */
import { mergeRecords, type SegmentRecords } from '../../cache-index/records.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf } from '../../errors.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { CacheRecords } from './cache-reader.ts';
import { checkpointsOf, readRecords } from './stored-records.ts';
import type { CacheView } from './view.ts';

export class KnownRecords {
  readonly #store: ReadOnlyStore;
  #byTag = new Map<string, SegmentRecords>();

  constructor(store: ReadOnlyStore) {
    this.#store = store;
  }

  /** All that count in `view`. Lenient: what cannot be read is left out, and asked for again the next time. */
  async fetch(view: CacheView, { signal }: CallOptions = {}): Promise<CacheRecords> {
    const unreadable: string[] = [];
    const found = new Map<string, SegmentRecords>();
    for (const tag of view.live.segments) {
      const records = this.#byTag.get(tag);
      if (records) found.set(tag, records);
    }
    // Others go on from here, also if this ends in an error.
    this.#byTag = found;
    const unknown = { ...view, live: { ...view.live, segments: view.live.segments.filter((tag) => !found.has(tag)) } };
    const options = { store: this.#store, signal };
    const reading = readRecords(unknown, { ...options, onProblem: ({ error }) => unreadable.push(messageOf(error)) });
    for await (const { tag, config } of reading) found.set(tag, { roots: config.roots, pins: config.pins });
    const checkpoints = checkpointsOf(view);
    const retainSeconds = checkpoints.findLast((checkpoint) => checkpoint.retainSeconds !== undefined)?.retainSeconds;
    return { ...mergeRecords([...found.values(), ...checkpoints]), unreadable, retainSeconds };
  }
}
