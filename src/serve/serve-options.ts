/** What the app is made of: plain values, put together by the command. */
import type { CacheReader } from '../cache/read/cache-reader.ts';
import type { PublicKey, SecretKey } from '../nix/signature.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { GateOptions } from './gate.ts';
import type { InsideLimits } from './inside/contents.ts';
import type { ObjectCache, Spools } from './object-cache.ts';
import type { RequestRefused } from './refusals.ts';
import type { UploadEvent, Uploads } from './upload/uploads.ts';

export interface ServeOptions {
  readonly reader: Omit<CacheReader, 'close'>;
  /** In the order in which they are preferred. */
  readonly upstreams?: readonly Upstream[] | undefined;
  /** If there are any, nothing is served that none of them signed. */
  readonly trustedPublicKeys?: readonly PublicKey[] | undefined;
  /** Keys for `/public-key` beside those that the cache itself names; `name:base64`. */
  readonly publicKeys?: readonly string[] | undefined;
  /** In nix-cache-info; default 30, before the 40 of cache.nixos.org. */
  readonly priority?: number | undefined;
  /** Between two refreshes of the index; default 300 s. */
  readonly indexTtlMs?: number | undefined;
  /** By how much an upstream is asked before the next; default 150 ms. */
  readonly headStartMs?: number | undefined;
  /** The same for a NAR that an upstream announced; default 1500 ms. */
  readonly narHeadStartMs?: number | undefined;
  /** For all upstreams together to come up with a narinfo, after which it is a miss; default 30 s. */
  readonly narInfoTimeoutMs?: number | undefined;
  /** How long it is believed that no upstream has a path; default 60 s. */
  readonly negativeTtlMs?: number | undefined;
  /** Large NARs that are read at once; others wait for their turn. Default: as many as are asked for. */
  readonly maxOpenNars?: number | undefined;
  /** At each `<hash part>.<host>` is what is in that path. */
  readonly storeHost?: string | undefined;
  /** How much is looked into at once, how large and how long. */
  readonly insideLimits?: Partial<InsideLimits> | undefined;
  /** Who may do what; default: everyone may read, and nobody write. */
  readonly access?: GateOptions | undefined;
  /** Whether clients are sent to the registry's storage for NARs that lie there whole. */
  readonly redirect?: boolean | undefined;
  /** For `/metrics`, which is not there without. */
  readonly metrics?: { text(): Promise<string> } | undefined;
  /** What is kept of NARs and narinfos between requests, and between runs. */
  readonly objects?: ObjectCache | undefined;
  /** What gc is run with, for the page that says what it would keep; default: what the last one said, else 30 days. */
  readonly retention?:
    | { readonly retainSeconds?: number | undefined; readonly keepLast?: number | undefined }
    | undefined;
  /** Where downloads wait that several clients read at once; without, each has its own of what is not kept. */
  readonly spools?: Spools | undefined;
  /** Whether the cache lies on a disk of this machine, so that its NARs may as well be read twice. */
  readonly isNear?: boolean | undefined;
  /** Where uploads go; whose reader `reader` is then. */
  readonly uploads?: Uploads | undefined;
  /** Sign what is uploaded. */
  readonly signingKeys?: readonly SecretKey[] | undefined;
  readonly version?: string | undefined;
  readonly onEvent?: ((event: ServeEvent) => void) | undefined;
  readonly now?: (() => Date) | undefined;
  /** What was counted since `startedAt`, to go on with; default: from nothing, now. */
  readonly counters?: Counters | undefined;
  readonly startedAt?: Date | undefined;
}

/** What happens; nothing in it is secret. */
export type ServeEvent =
  | UploadEvent
  | { readonly type: 'refreshed'; readonly entries: number; readonly addedSegments: number; readonly bytes: number }
  /** Only when it fails in another way than the last time. */
  | { readonly type: 'refresh-failed'; readonly error: string }
  /** The cache was read, and there is nothing in it: once, until there is. */
  | { readonly type: 'nothing-there' }
  | { readonly type: 'upstream-failed'; readonly upstream: string; readonly path: string; readonly error: string }
  /** An upstream from which nothing is taken: once, until the reason is another. */
  | { readonly type: 'upstream-refused'; readonly upstream: string; readonly reason: string }
  /** An entry or narinfo that is there and is not served. */
  | { readonly type: 'refused'; readonly path: string; readonly reason: string }
  /** A NAR of the cache is not what its hash says, or gone: it is not offered from now on, until the index changes. */
  | { readonly type: 'damaged'; readonly path: string; readonly error: string }
  /** What was kept of a NAR is not what it was, and is fetched anew. */
  | { readonly type: 'kept-damaged'; readonly name: string; readonly error: string }
  | RequestRefused
  /** An answer that was cut off, or could not be begun. */
  | { readonly type: 'answer-failed'; readonly path: string; readonly error: string };

/** How often what was asked for was there; plain numbers, because narinfos are counted on the hot path. */
export interface Counters {
  narInfoHits: number;
  narInfoUpstreamHits: number;
  narInfoMisses: number;
  narHits: number;
  narUpstreamHits: number;
  narMisses: number;
  /** Of NARs and narinfos that were there, those that came from what is kept on disk. */
  narDiskHits: number;
  narInfoDiskHits: number;
  /** Answers that were cut off, or could not be begun, because the far side failed. */
  failures: number;
  /** Looks for news in the cache that went well, and that did not. */
  refreshes: number;
  refreshFailures: number;
}

export const newCounters = (): Counters => ({
  narInfoHits: 0,
  narInfoUpstreamHits: 0,
  narInfoMisses: 0,
  narHits: 0,
  narUpstreamHits: 0,
  narMisses: 0,
  narDiskHits: 0,
  narInfoDiskHits: 0,
  failures: 0,
  refreshes: 0,
  refreshFailures: 0,
});
