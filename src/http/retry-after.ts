/** How long a server asks to wait, in all the ways servers say it. */
import type { HttpHeaders } from './http-fetch.ts';

/** The headers and the start of the body of a refusal. */
export interface Refusal {
  readonly headers: HttpHeaders;
  readonly body: string;
}

/**
 * Milliseconds to wait from `now` (milliseconds since the epoch), or undefined if the server does not say. Never negative.
 *
 * Read in this order: `Retry-After` as seconds or HTTP date (RFC 9110 10.2.3); GHCR's `retry-after: 1.889377ms, allowed:
 * 2000/minute` in the error message, a Go duration (chainguard-images/images#173); `X-RateLimit-Reset` in seconds since
 * the epoch, when nothing remains (GitHub's REST API).
 */
export function retryAfterMs(refusal: Refusal, now: number): number | undefined {
  const { headers } = refusal;
  const asked =
    parseRetryAfter(headers['retry-after'], now) ??
    parseGoDuration(/retry-after:\s*([0-9][0-9.a-zµμ]*)/i.exec(refusal.body)?.[1]) ??
    (headers['x-ratelimit-remaining'] === '0' ? parseReset(headers['x-ratelimit-reset'], now) : undefined);
  return asked === undefined ? undefined : Math.max(0, asked);
}

function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d+(\.\d+)?$/.test(value.trim())) return Number(value) * 1000;
  const date = Date.parse(value);
  // Some proxies put a Go duration here too.
  return Number.isNaN(date) ? parseGoDuration(value.trim()) : date - now;
}

function parseReset(value: string | undefined, now: number): number | undefined {
  return value !== undefined && /^\d+$/.test(value) ? Number(value) * 1000 - now : undefined;
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Go's time.Duration.String(): `1.889377ms`, `2m3.5s`. */
function parseGoDuration(text: string | undefined): number | undefined {
  if (text === undefined || !/^(\d+(\.\d+)?(ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)/g)) {
    ms += Number(number) * (UNIT_MS[unit] ?? 0);
  }
  return ms;
}
