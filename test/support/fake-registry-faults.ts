/** What real registries do differently, and what goes wrong with them: each an option, to be combined. */

export interface FakeRegistryTraits {
  readonly auth: 'none' | 'basic' | 'bearer';
  /** `expires_in` of tokens in seconds; left out of the answer when undefined, as GHCR does. */
  readonly tokenLifetimeSeconds: number | undefined;
  /** Requests that a token is good for: then it has run out, whatever was said of its lifetime. */
  readonly tokenUses: number;
  /** Anyone may read. */
  readonly publicRead: boolean;
  /** Blobs answer 307 to a signed URL on a second origin, which refuses requests with an Authorization. */
  readonly redirectBlobs: boolean;
  /** Signed URLs are good for GET only, as those of S3: HEAD answers 403. */
  readonly signsGetOnly: boolean;
  /** Requests that one signed URL serves before it has expired. */
  readonly signedUrlUses: number;
  /** False: DELETE answers 405. */
  readonly deletes: boolean;
  /** Most tags on a page, whatever `n` says. */
  readonly maxPage: number;
  readonly tagOrder: 'creation' | 'lexical';
  readonly maxLayers: number;
  /** Largest PUT in bytes; Docker Hub refuses more with 400. */
  readonly maxPutBytes: number;
  /** Largest request in bytes when it has a Content-Range; GHCR refuses more with 416. */
  readonly maxRangedUploadBytes: number;
  /** So many reads after a tag was written give what it was before. */
  readonly staleTagReads: number;
  /** Time that every request takes. */
  readonly latencyMs: number;
  /** Location of uploads: a path, or a full URL. */
  readonly absoluteLocations: boolean;
  /**
   * After so long, blobs that no manifest names and manifests without a tag vanish, whether anyone was told that they
   * are there or not; never when undefined.
   */
  readonly reapsAfterMs: number | undefined;
  /** For reaping: milliseconds. */
  readonly now: () => number;
}

export const PLAIN: FakeRegistryTraits = {
  auth: 'none',
  tokenLifetimeSeconds: undefined,
  tokenUses: Number.POSITIVE_INFINITY,
  publicRead: false,
  redirectBlobs: false,
  signsGetOnly: false,
  signedUrlUses: Number.POSITIVE_INFINITY,
  deletes: true,
  maxPage: 1000,
  tagOrder: 'lexical',
  maxLayers: Number.POSITIVE_INFINITY,
  maxPutBytes: Number.POSITIVE_INFINITY,
  maxRangedUploadBytes: Number.POSITIVE_INFINITY,
  staleTagReads: 0,
  latencyMs: 0,
  absoluteLocations: false,
  reapsAfterMs: undefined,
  now: Date.now,
};

/** How known registries behave, as far as it is known. */
export const PROFILES = {
  ghcr: {
    ...PLAIN,
    auth: 'bearer',
    redirectBlobs: true,
    deletes: false,
    maxPage: 100,
    tagOrder: 'creation',
    maxRangedUploadBytes: 4 * 1024 * 1024,
  },
  ecr: { ...PLAIN, auth: 'basic', maxLayers: 500, absoluteLocations: true },
  hub: {
    ...PLAIN,
    auth: 'bearer',
    publicRead: true,
    tokenLifetimeSeconds: 300,
    maxPutBytes: 1024 * 1024,
    deletes: false,
  },
  /** An hour (zot's gcDelay); `now` is for the test to give. */
  zot: { ...PLAIN, reapsAfterMs: 60 * 60 * 1000 },
} as const satisfies Record<string, FakeRegistryTraits>;

/** What happens to the next requests that match. */
export interface Fault {
  readonly method?: string | undefined;
  /** Matched against path and query. */
  readonly path?: RegExp | undefined;
  /** `storage` is the second origin; default `registry`. */
  readonly at?: 'registry' | 'storage' | undefined;
  /** How many requests; default 1. */
  readonly times?: number | undefined;
  readonly act: FaultAct;
}

export type FaultAct =
  /** This instead of an answer. */
  | {
      readonly type: 'answer';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  /** The connection breaks before an answer, after `bytes` of the request's body. */
  | { readonly type: 'reset'; readonly bytes?: number }
  /** The request is done, but the connection breaks before the answer. */
  | { readonly type: 'lose-answer' }
  /** The body of the answer breaks off after `bytes`: the connection is reset, or ends as if that were all. Of any body. */
  | { readonly type: 'cut'; readonly bytes: number; readonly how: 'reset' | 'end' }
  /** The body of the answer stops after `bytes`, and nothing ever follows. */
  | { readonly type: 'stall'; readonly bytes: number }
  /** One byte of the body is another. */
  | { readonly type: 'corrupt' }
  /** The body is another altogether. */
  | { readonly type: 'replace'; readonly body: string }
  /** The body comes byte by byte, with so long between two: never a silence, and never an end in time. */
  | { readonly type: 'dribble'; readonly everyMs: number }
  /** The whole blob, 200, whatever range was asked for. */
  | { readonly type: 'ignore-range' }
  /** 202 to a PUT that ends an upload. */
  | { readonly type: 'status'; readonly status: number };

export class FaultQueue {
  readonly #faults: { readonly fault: Fault; left: number }[] = [];

  add(fault: Fault): void {
    this.#faults.push({ fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#faults.length = 0;
  }

  /** What is to happen to this request, if anything; the oldest fault that matches is used up. */
  take(at: 'registry' | 'storage', method: string, url: URL): FaultAct | undefined {
    const found = this.#faults.find(
      ({ fault, left }) =>
        left > 0 &&
        (fault.at ?? 'registry') === at &&
        (fault.method ?? method) === method &&
        (fault.path?.test(url.pathname + url.search) ?? true),
    );
    if (found === undefined) return undefined;
    found.left -= 1;
    return found.fault.act;
  }
}

/** GHCR's answer to too many uploads (chainguard-images/images#173). */
export const ghcrRateLimit = (wait: string): FaultAct => ({
  type: 'answer',
  status: 429,
  body: JSON.stringify({
    errors: [{ code: 'TOOMANYREQUESTS', message: `retry-after: ${wait}, allowed: 2000/minute` }],
  }),
});

/** GitHub's answer to too much of anything (markrussinovich/refchecker#67). */
export const secondaryRateLimit = (seconds: number): FaultAct => ({
  type: 'answer',
  status: 403,
  headers: { 'retry-after': String(seconds) },
  body: JSON.stringify({
    errors: [{ code: 'DENIED', message: 'You have exceeded a secondary rate limit. Please wait a few minutes.' }],
  }),
});

/** What a bad line does, and an overloaded server: `random` gives numbers from 0 to 1. */
export function badLuck(rate: number, random: () => number): (method: string) => FaultAct | undefined {
  const pick = <T>(...items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)];
  const bytes = (): number => Math.floor(random() * 5000);
  return (method) => {
    if (random() >= rate) return undefined;
    const always: FaultAct[] = [
      { type: 'reset', bytes: bytes() },
      { type: 'answer', status: pick(500, 502, 503, 504) ?? 500, body: 'bad gateway' },
      ghcrRateLimit('1.5s'),
    ];
    if (method === 'PUT' || method === 'PATCH') return pick<FaultAct>(...always, { type: 'lose-answer' });
    if (method !== 'GET') return pick<FaultAct>(...always);
    return pick<FaultAct>(
      ...always,
      { type: 'cut', bytes: bytes(), how: 'reset' },
      { type: 'cut', bytes: bytes(), how: 'end' },
      { type: 'corrupt' },
      { type: 'ignore-range' },
    );
  };
}
