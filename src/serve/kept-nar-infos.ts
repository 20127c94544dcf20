/**
 * What upstreams said, on disk: their narinfos as they were read, and what store they are for. What is read back is judged as if
 * it had just come from there, by the keys that are trusted now; of an upstream that is not asked any more, nothing is believed.
 */
import { isNixcacheError } from '../errors.ts';
import { formatNarInfo, type NarInfo } from '../nix/nar-info.ts';
import { type HashPart, hashPartOf, isStoreDir } from '../nix/store-path.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { parseAnyNarInfo } from './any-nar-info.ts';
import type { ObjectCache } from './object-cache.ts';

export interface KeptNarInfo {
  readonly upstream: Upstream;
  readonly info: NarInfo;
  /** When the upstream said so, in milliseconds since the epoch. */
  readonly saidAt: number;
}

export class KeptNarInfos {
  readonly #objects: ObjectCache;
  readonly #now: () => Date;

  constructor(objects: ObjectCache, now: () => Date) {
    this.#objects = objects;
    this.#now = now;
  }

  /** That of the first of `upstreams` that gave one. */
  async find(upstreams: readonly Upstream[], hashPart: HashPart): Promise<KeptNarInfo | undefined> {
    for (const upstream of upstreams) {
      const found = await this.findAt(upstream, hashPart);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  async findAt(upstream: Upstream, hashPart: HashPart): Promise<KeptNarInfo | undefined> {
    const text = await this.#objects.readRecord(nameOf(upstream, hashPart));
    if (text === undefined) return undefined;
    const end = text.indexOf('\n');
    try {
      const info = parseAnyNarInfo(text.slice(end + 1));
      return hashPartOf(info.path) === hashPart ? { upstream, info, saidAt: Number(text.slice(0, end)) } : undefined;
    } catch (error) {
      if (isNixcacheError(error)) return undefined; // a later version may be stricter
      throw error;
    }
  }

  async keep(upstream: Upstream, info: NarInfo): Promise<void> {
    const text = `${this.#now().getTime()}\n${formatNarInfo(info)}`;
    await this.#objects.writeRecord(nameOf(upstream, hashPartOf(info.path)), text);
  }

  async remove(upstream: Upstream, hashPart: HashPart): Promise<void> {
    await this.#objects.removeRecord(nameOf(upstream, hashPart));
  }

  /** What store `upstream` said it is for. */
  async findStoreDir(upstream: Upstream): Promise<string | undefined> {
    const text = await this.#objects.readRecord(storeDirName(upstream));
    return text !== undefined && isStoreDir(text) ? text : undefined;
  }

  async keepStoreDir(upstream: Upstream, storeDir: string): Promise<void> {
    await this.#objects.writeRecord(storeDirName(upstream), storeDir);
  }
}

const nameOf = (upstream: Upstream, hashPart: HashPart): string => `${upstream.id}-${hashPart}`;
const storeDirName = (upstream: Upstream): string => `${upstream.id}-store-dir`;
