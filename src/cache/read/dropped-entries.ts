/**
 * What checkpoints have dropped and nobody has deleted yet. Somebody may have come to rely on it without the gc having seen
 * that: then it is listed again.
 */
import pLimit from 'p-limit';
import { type Entry, parseEntry } from '../../cache-index/entry.ts';
import { EntryTable } from '../../cache-index/entry-table.ts';
import type { CallOptions } from '../../call-options.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { Mirror } from './mirror.ts';
import { type OnProblem, troubleOf } from './problem.ts';
import { type LoadedSegment, loadSegments } from './segment-loader.ts';
import { type CacheView, TagVanished } from './view.ts';

/** An entry, the segment that holds it, and when it was last asserted, in Unix seconds. */
export interface FoundEntry {
  readonly entry: Entry;
  readonly tag: string;
  readonly asserted: number;
}

export interface DroppedOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly mirror: Mirror;
  readonly view: CacheView;
  readonly storeDir: string;
}

/** Segments fetched at once. */
const CONCURRENT_FETCHES = 16;

export class DroppedEntries {
  readonly #segments: readonly LoadedSegment[];
  readonly #table: EntryTable;
  readonly #options: Pick<DroppedOptions, 'view' | 'storeDir'>;

  private constructor(segments: readonly LoadedSegment[], options: DroppedOptions) {
    this.#segments = segments;
    this.#table = EntryTable.of(segments.map(({ segment }) => segment.rows));
    this.#options = options;
  }

  /** Of the dead segments `tags`, oldest first, as far as they can still be read. */
  static async open(tags: readonly string[], options: DroppedOptions): Promise<DroppedEntries> {
    const limit = pLimit(CONCURRENT_FETCHES);
    const load = async (tag: string): Promise<readonly LoadedSegment[]> => {
      try {
        return (await loadSegments([tag], { ...options, onProblem: passDamage })).segments;
      } catch (error) {
        if (error instanceof TagVanished) return [];
        throw error;
      }
    };
    const loaded = await Promise.all(tags.map((tag) => limit(load, tag)));
    return new DroppedEntries(loaded.flat(), options);
  }

  find(hashPart: HashPart): FoundEntry | undefined {
    const row = this.#table.find(hashPart);
    const loaded = row && this.#segments[row.segment];
    if (!row || !loaded || this.#isRemoved(hashPart, loaded.tag)) return undefined;
    const entry = parseEntry(loaded.segment.read(row.offset, row.length), this.#options.storeDir);
    if (hashPartOf(entry.narInfo.path) !== hashPart) return undefined;
    return { entry, tag: loaded.tag, asserted: entry.asserted ?? loaded.time };
  }

  close(): void {
    for (const { segment } of this.#segments) segment.close();
  }

  /** Whether the checkpoint that made `tag` dead left the entry out for good. */
  #isRemoved(hashPart: HashPart, tag: string): boolean {
    const { checkpoints } = this.#options.view;
    return [...checkpoints.values()].some(
      ({ replaces, removed }) => removed?.includes(hashPart) && replaces.includes(tag),
    );
  }
}

/** What is damaged or gone cannot be listed again. */
const passDamage: OnProblem = ({ error }) => {
  const trouble = troubleOf(error);
  if (!trouble || trouble.kind === 'unanswered') throw error;
};
