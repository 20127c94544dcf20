/**
 * Which store directory this cache is for, and which upstreams are for another. Store paths mean nothing in another store, so
 * that such an upstream is refused by name, as Nix does; a cache that has no path yet is for what its upstreams are for.
 */

import { type CacheReader, pathsOf } from '../cache/read/cache-reader.ts';
import { abortable } from '../call-options.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { isStoreDir, storeDirOf } from '../nix/store-path.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { inOrder } from '../upstream/upstream-cache.ts';
import type { AskOptions } from './answer.ts';
import type { KeptNarInfos } from './kept-nar-infos.ts';
import type { ServeEvent } from './serve-options.ts';

export interface StoreDirsOptions {
  readonly reader: Pick<CacheReader, 'storeDir' | 'status'>;
  readonly upstreams: readonly Upstream[];
  readonly onEvent: (event: ServeEvent) => void;
  readonly now: () => Date;
  /** What they said in earlier runs. */
  readonly keptNarInfos?: Pick<KeptNarInfos, 'findStoreDir' | 'keepStoreDir'> | undefined;
  /** Another store directory counts from now on. */
  readonly onChange: () => void;
}

interface Learned {
  /** What its nix-cache-info says; undefined while that is not known, and where it says nothing. */
  storeDir: string | undefined;
  /** The same. */
  priority: number | undefined;
  asking: Promise<void>;
  /** When it failed, in milliseconds since the epoch. */
  failedAt: number | undefined;
}

/** A minute: after that, who needs to know asks an upstream again that did not say. */
const ASK_AGAIN_MS = 60_000;

export class StoreDirs {
  readonly #options: StoreDirsOptions;
  readonly #learned = new Map<Upstream, Learned>();
  readonly #told = new Map<Upstream, string>();
  #last: string;

  constructor(options: StoreDirsOptions) {
    this.#options = options;
    this.#last = this.current;
  }

  /** The cache's own once there is something in it; before, that of the upstreams where all that are known say the same. */
  get current(): string {
    const { reader, upstreams } = this.#options;
    if (pathsOf(reader.status()) > 0) return reader.storeDir;
    const said = upstreams.flatMap((upstream) => this.#learned.get(upstream)?.storeDir ?? []);
    const [first, ...more] = new Set(said);
    return first !== undefined && more.length === 0 && isStoreDir(first) ? first : reader.storeDir;
  }

  /** Why nothing is taken from `upstream`; undefined where nothing speaks against it. */
  refusalOf(upstream: Upstream): string | undefined {
    const theirs = this.#learned.get(upstream)?.storeDir;
    return theirs === undefined ? undefined : this.#refusalOf(theirs);
  }

  /** Those of the upstreams that are for the same store, as far as is known, in the order to ask them: as Nix would. */
  get usable(): readonly Upstream[] {
    const usable = this.#options.upstreams.filter((upstream) => this.refusalOf(upstream) === undefined);
    return inOrder(usable, (upstream) => upstream.cache.priority ?? this.#learned.get(upstream)?.priority);
  }

  /** Why `info`, which `upstream` has, is not for this cache. */
  async refusalFor(upstream: Upstream, info: NarInfo, { signal }: AskOptions): Promise<string | undefined> {
    const theirs = storeDirOf(info.path);
    if (theirs !== this.current) await abortable(this.#learn(upstream), signal);
    return this.refusalOf(upstream) ?? this.#refusalOf(theirs);
  }

  /** Asks all upstreams what they are for. Never rejects but with the reason of `signal`. */
  async learn({ signal }: Pick<AskOptions, 'signal'> = {}): Promise<void> {
    await abortable(Promise.all(this.#options.upstreams.map((upstream) => this.#learn(upstream))), signal);
  }

  /** Has everything asked again. */
  clear(): void {
    for (const learned of this.#learned.values()) learned.failedAt = Number.NEGATIVE_INFINITY;
  }

  /** Tells of upstreams that turned out to be for another store. To be called when the cache has changed, too. */
  review(): void {
    const { upstreams, onEvent, onChange } = this.#options;
    for (const upstream of upstreams) {
      const reason = this.refusalOf(upstream);
      if (reason === undefined) this.#told.delete(upstream);
      else if (this.#told.get(upstream) !== reason) {
        this.#told.set(upstream, reason);
        onEvent({ type: 'upstream-refused', upstream: upstream.name, reason });
      }
    }
    if (this.current === this.#last) return;
    this.#last = this.current;
    onChange();
  }

  #refusalOf(theirs: string): string | undefined {
    const ours = this.current;
    return theirs === ours ? undefined : `it is for the store ${theirs}, and this cache for ${ours}`;
  }

  #learn(upstream: Upstream): Promise<void> {
    const learned = this.#learned.get(upstream) ?? {
      ...{ storeDir: undefined, priority: undefined, failedAt: 0 },
      asking: Promise.resolve(),
    };
    this.#learned.set(upstream, learned);
    if (learned.failedAt !== undefined && this.#options.now().getTime() - learned.failedAt >= ASK_AGAIN_MS) {
      learned.failedAt = undefined;
      learned.asking = this.#ask(upstream, learned);
    }
    return learned.asking;
  }

  async #ask(upstream: Upstream, learned: Learned): Promise<void> {
    const { keptNarInfos, now } = this.#options;
    try {
      const said = await upstream.fetchCacheInfo();
      learned.storeDir = said?.storeDir;
      learned.priority = said?.priority;
      if (learned.storeDir !== undefined) void keptNarInfos?.keepStoreDir(upstream, learned.storeDir);
    } catch {
      // What is asked of it next tells why.
      learned.storeDir ??= await keptNarInfos?.findStoreDir(upstream);
      learned.failedAt = now().getTime();
    }
    this.review();
  }
}
