/** What published listings say is in NARs: enough to find one's way, not to give out a byte. */
import { LRUCache } from 'lru-cache';
import { type NarNode, parseNarListing } from '../../nar/nar-listing.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { AskOptions } from '../answer.ts';

export interface TreesOptions {
  readonly findListing: (hashPart: HashPart, options: AskOptions) => Promise<string | Buffer | undefined>;
}

/** 16 MiB of text are some 150 000 files, which take up five times as much in memory. */
const MAX_TEXT = 16 * 1024 * 1024;
const MAX_KEPT_TEXT = 2 * MAX_TEXT;
/** A minute, for listings that are not there. */
const ABSENT_TTL_MS = 60_000;
const MAX_ABSENT = 4096;

interface Tree {
  readonly root: NarNode;
  readonly length: number;
}

export class Trees {
  readonly #options: TreesOptions;
  readonly #kept = new LRUCache<string, Tree>({
    maxSize: MAX_KEPT_TEXT,
    sizeCalculation: ({ length }) => length + 100,
  });
  readonly #absent = new LRUCache<string, true>({ max: MAX_ABSENT, ttl: ABSENT_TTL_MS });

  constructor(options: TreesOptions) {
    this.#options = options;
  }

  clear(): void {
    this.#absent.clear();
    this.#kept.clear();
  }

  /** Undefined where no listing was published, or none that can be read and held. */
  async find({ path, narHash }: Pick<NarInfo, 'path' | 'narHash'>, options: AskOptions): Promise<NarNode | undefined> {
    const hashPart = hashPartOf(path);
    const key = `${hashPart} ${narHash}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept.root;
    if (this.#absent.has(key)) return undefined;
    const text = await this.#options.findListing(hashPart, options);
    if (text === undefined || text.length > MAX_TEXT) {
      this.#absent.set(key, true);
      return undefined;
    }
    const root = parseNarListing(text.toString());
    this.#kept.set(key, { root, length: text.length });
    return root;
  }
}
