/**
 * What checkpoints have dropped and nobody has deleted yet. Somebody may have come to rely on it without the gc having seen
 * that: then it is listed again.
 */
import pLimit from 'p-limit';
import type { CallOptions } from '../../call-options.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import { type FoundEntry, LoadedEntries } from './loaded-entries.ts';
import type { Mirror } from './mirror.ts';
import { type OnProblem, troubleOf } from './problem.ts';
import { type LoadedSegment, loadSegments } from './segment-loader.ts';
import { type CacheView, TagVanished } from './view.ts';

export interface DroppedOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly mirror: Mirror;
  readonly view: CacheView;
  readonly storeDir: string;
}

/** Segments fetched at once. */
const CONCURRENT_FETCHES = 16;

export class DroppedEntries {
  readonly #entries = new LoadedEntries();
  readonly #options: Pick<DroppedOptions, 'view' | 'storeDir'>;

  private constructor(segments: readonly LoadedSegment[], options: DroppedOptions) {
    this.#entries.install(segments);
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
    const found = this.#entries.find(hashPart, this.#options.storeDir);
    if (!found || hashPartOf(found.entry.narInfo.path) !== hashPart) return undefined;
    return this.#isRemoved(hashPart, found.tag) ? undefined : found;
  }

  close(): void {
    this.#entries.close();
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
