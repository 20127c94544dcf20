/** An answer that is a refusal. Its body is read through a bound, and is closed. */
import type { Readable } from 'node:stream';
import { type ErrorCode, NixcacheError } from '../errors.ts';
import type { Asked, HttpResponse } from './http-fetch.ts';
import { describeRequest, redactUrl } from './http-fetch.ts';
import { retryAfterMs } from './retry-after.ts';

export interface HttpErrorFacts extends Asked {
  readonly status: number;
  readonly bodyExcerpt: string;
  /** What the server asks to wait; undefined when it does not say. */
  readonly retryAfterMs?: number | undefined;
  readonly retryable: boolean;
}

export class HttpError extends NixcacheError {
  readonly method: string;
  /** Without credentials. */
  readonly url: string;
  readonly status: number;
  /** The first 8 KiB at most. */
  readonly bodyExcerpt: string;
  readonly retryAfterMs: number | undefined;
  /** Whether the same request may succeed a little later. */
  readonly retryable: boolean;
  /** How often it was tried before this error was given out. */
  attempts = 1;

  /** `reason` follows `METHOD url: status `, `url` with where it was redirected to. */
  constructor(code: ErrorCode, reason: string, facts: HttpErrorFacts, options?: ErrorOptions) {
    super(code, `${describeRequest(facts)}: ${facts.status} ${reason}`.trimEnd(), options);
    this.method = facts.method;
    this.url = redactUrl(facts.url);
    this.status = facts.status;
    this.bodyExcerpt = facts.bodyExcerpt;
    this.retryAfterMs = facts.retryAfterMs;
    this.retryable = facts.retryable;
  }
}

/** Reads what `response`, which no one else has read, refuses and why. `now` is in milliseconds since the epoch. */
export async function readRefusal(method: string, response: HttpResponse, now: number): Promise<HttpErrorFacts> {
  const bodyExcerpt = await readExcerpt(response.body);
  return {
    method,
    url: response.url,
    asked: response.asked,
    status: response.status,
    bodyExcerpt,
    retryAfterMs: retryAfterMs({ headers: response.headers, body: bodyExcerpt }, now),
    retryable: isRetryableStatus(response.status, bodyExcerpt),
  };
}

/** Of all other statuses no better answer is to be expected. GitHub signals a secondary rate limit with 403. */
const isRetryableStatus = (status: number, body: string): boolean =>
  status === 408 ||
  status === 429 ||
  (status >= 500 && !LASTING_STATUSES.has(status)) ||
  (status === 403 && /secondary rate limit/i.test(body));

/** The server cannot do it at all; all else of its kind, those of content networks (520 to 530) included, may pass. */
const LASTING_STATUSES: ReadonlySet<number> = new Set([501, 505, 508, 511]);

/** 8 KiB: errors of registries are a line of JSON; more is an HTML page that no one reads. */
const MAX_EXCERPT_BYTES = 8 * 1024;

/** Enough for any honest error; a server that dribbles one out must not hold us. */
const EXCERPT_TIMEOUT_MS = 5000;

/** The first bytes of `body` as text. An error body that breaks off is as good as a shorter one. */
async function readExcerpt(body: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  const timer = setTimeout(() => body.destroy(), EXCERPT_TIMEOUT_MS);
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= MAX_EXCERPT_BYTES) break;
    }
  } catch {
    // The status was the answer; what was read of its explanation is all there is.
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
  return Buffer.concat(chunks).subarray(0, MAX_EXCERPT_BYTES).toString('utf8');
}
