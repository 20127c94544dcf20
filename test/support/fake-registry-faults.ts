/** What real registries do differently, and what goes wrong with them: each an option, to be combined. */

export interface FakeRegistryTraits {
  readonly auth: 'none' | 'basic' | 'bearer';
  /** `expires_in` of tokens in seconds; left out of the answer when undefined, as GHCR does. */
  readonly tokenLifetimeSeconds: number | undefined;
  /** Anyone may read. */
  readonly publicRead: boolean;
  /** Blobs answer 307 to a signed URL on a second origin, which refuses requests with an Authorization. */
  readonly redirectBlobs: boolean;
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
}

export const PLAIN: FakeRegistryTraits = {
  auth: 'none',
  tokenLifetimeSeconds: undefined,
  publicRead: false,
  redirectBlobs: false,
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
  /** The body of the answer breaks off after `bytes`: the connection is reset, or ends as if that were all. */
  | { readonly type: 'cut'; readonly bytes: number; readonly how: 'reset' | 'end' }
  /** The body of the answer stops after `bytes`, and nothing ever follows. */
  | { readonly type: 'stall'; readonly bytes: number }
  /** One byte of the body is another. */
  | { readonly type: 'corrupt' }
  /** The whole blob, 200, whatever range was asked for. */
  | { readonly type: 'ignore-range' }
  /** 202 to a PUT that ends an upload. */
  | { readonly type: 'status'; readonly status: number };

export class FaultQueue {
  readonly #faults: { readonly fault: Fault; left: number }[] = [];

  add(fault: Fault): void {
    this.#faults.push({ fault, left: fault.times ?? 1 });
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
