/** What the pages show, and where they get it. */
import { setImmediate } from 'node:timers/promises';
import type { CacheReader, CacheRecords } from '../../cache/read/cache-reader.ts';
import type { CallOptions } from '../../call-options.ts';
import { type ClosureFigures, closureOf, type Keeping, keepingOf } from '../../census/inventory-walks.ts';
import {
  applyRetention,
  type KeepReason,
  type Retention,
  type RetentionPolicy,
  retainedSince,
} from '../../census/retention.ts';
import { type Pause, Slices } from '../../census/slices.ts';
import { messageOf } from '../../errors.ts';
import { type PublicKey, sortPublicKeys } from '../../nix/signature.ts';
import { type BaseName, baseNameOf, type HashPart } from '../../nix/store-path.ts';
import type { Upstream } from '../../upstream/upstream.ts';
import { advertisedKeys } from '../advertised-keys.ts';
import type { ServeOptions } from '../serve-options.ts';
import type { StoreDirs } from '../store-dirs.ts';
import type { Trust } from '../trust.ts';
import type { Withheld } from '../withheld.ts';
import { type Counted, Counting, type Figures } from './counting.ts';
import type { Place } from './parts.ts';

export interface SiteOptions {
  readonly reader: Omit<CacheReader, 'close'>;
  readonly upstreams: readonly Upstream[];
  readonly storeDirs: Pick<StoreDirs, 'current' | 'refusalOf'>;
  readonly trust: Pick<Trust, 'isOn' | 'allows'>;
  readonly withheld: Pick<Withheld, 'has'>;
  /** Keys that are not the cache's own to name: `name:base64`. */
  readonly publicKeys: readonly string[];
  readonly trustedPublicKeys: readonly PublicKey[];
  /** Whether readers need a token. */
  readonly isPrivate: boolean;
  /** What gc is run with, where that is configured. */
  readonly retention?: ServeOptions['retention'];
  readonly version: string;
  readonly now: () => Date;
  /** Default: until what is waiting has had its turn. */
  readonly pause?: Pause;
}

/** How much gc would keep for which reason, and what it would drop, largest first. */
export interface Shares {
  readonly byKind: ReadonlyMap<KeepReason['kind'] | 'dropped', Share>;
  readonly dropped: readonly number[];
}

export interface Share {
  paths: number;
  fileBytes: number;
}

/** A look at one page. */
export interface Visit extends CallOptions {
  readonly parameters: URLSearchParams;
  readonly place: Place;
  /** Where the cache is, as the client has it: `https://cache.example.org`; undefined if that cannot be told. */
  readonly address: string | undefined;
}

/** What is said of roots and pins: them, or why they are not known; no error while they are being read. */
export type Records = { readonly records: CacheRecords } | { readonly error: string | undefined };

/** How long a page waits for what is being counted or read before it says so. */
const WAIT_MS = 400;
/** Thirty days, which gc is run with unless it is told otherwise. */
const DEFAULT_RETAIN_SECONDS = 30 * 86_400;
/** What gc would do is a matter of time, too. */
const KEEPING_TTL_MS = 600_000;

export class Site {
  readonly options: SiteOptions & { readonly pause: Pause };
  readonly counting: Counting;
  readonly #closures = new WeakMap<Figures, Map<number, ClosureFigures>>();
  readonly #keepings = new WeakMap<
    Figures,
    { readonly of: CacheRecords; readonly atMs: number; readonly keeping: Promise<Keeping> }
  >();

  /** By what is kept, how much for which reason; for the page that tells it. */
  readonly shares = new WeakMap<Keeping, Shares>();

  constructor(options: SiteOptions) {
    this.options = { pause: setImmediate, ...options };
    this.counting = new Counting(this.options);
  }

  look(options: CallOptions): Promise<Counted> {
    return this.counting.look(WAIT_MS, options);
  }

  slices(signal: AbortSignal | undefined): Slices {
    return new Slices(async () => {
      await this.options.pause();
      signal?.throwIfAborted();
    });
  }

  async records(options: CallOptions): Promise<Records> {
    try {
      const records = await this.counting.records(WAIT_MS, options);
      return records === undefined ? { error: undefined } : { records };
    } catch (error) {
      options.signal?.throwIfAborted();
      return { error: messageOf(error) };
    }
  }

  /** As clients are told to trust them. */
  async keys(options: CallOptions): Promise<readonly PublicKey[]> {
    const { publicKeys: own, trustedPublicKeys, reader } = this.options;
    const trusted = trustedPublicKeys.map(({ text }) => text);
    const named = () => reader.fetchPublicKeys(options).catch(() => []);
    return sortPublicKeys(await advertisedKeys({ own, trusted, named })).keys;
  }

  /** What the closure of an entry takes; walked through once. */
  async closureOf(figures: Figures, entry: number, { signal }: CallOptions): Promise<ClosureFigures> {
    const known = this.#closures.get(figures) ?? new Map<number, ClosureFigures>();
    this.#closures.set(figures, known);
    const closure = known.get(entry) ?? (await closureOf(figures.inventory, entry, this.slices(signal)));
    if (known.size >= MAX_CLOSURES) known.clear();
    known.set(entry, closure);
    return closure;
  }

  /** What gc goes by. */
  policy({ retainSeconds }: CacheRecords): RetentionPolicy {
    const { retention, now } = this.options;
    return {
      now: now().getTime() / 1000,
      retainSeconds: retention?.retainSeconds ?? retainSeconds ?? DEFAULT_RETAIN_SECONDS,
      keepLast: retention?.keepLast,
    };
  }

  retention(records: CacheRecords): Retention {
    return applyRetention(records.roots, records.pins, this.policy(records));
  }

  /** What gc would keep if it ran now, or some minutes ago. */
  keeping(figures: Figures, records: CacheRecords): Promise<Keeping> {
    const nowMs = this.options.now().getTime();
    const held = this.#keepings.get(figures);
    if (held !== undefined && held.of === records && nowMs - held.atMs < KEEPING_TTL_MS) return held.keeping;
    const { kept } = this.retention(records);
    // Not aborted with who asked first: others wait for it, too.
    const keeping = keepingOf(figures.inventory, kept, retainedSince(this.policy(records)), this.slices(undefined));
    this.#keepings.set(figures, { of: records, atMs: nowMs, keeping });
    return keeping;
  }

  /** The base name of an entry as it is now; undefined if it has gone since it was counted. */
  async baseNameOf(hashPart: HashPart): Promise<BaseName | undefined> {
    const entry = await this.options.reader.findEntry(hashPart);
    return entry && baseNameOf(entry.narInfo.path);
  }

  /** Base names of entries, less those that have gone. */
  async named(
    figures: Figures,
    entries: Iterable<number>,
  ): Promise<readonly { readonly entry: number; readonly path: BaseName }[]> {
    const found: { readonly entry: number; readonly path: BaseName }[] = [];
    for (const entry of entries) {
      const path = await this.baseNameOf(figures.inventory.hashPartOf(entry));
      if (path !== undefined) found.push({ entry, path });
    }
    return found;
  }
}

/** Some 100 bytes each. */
const MAX_CLOSURES = 20_000;
