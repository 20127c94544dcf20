/**
 * The port through which everything here speaks HTTP. Two adapters implement it: `node/client.ts` over undici, which
 * knows proxies and counts connections, and `web-fetch.ts` over the `fetch` that browsers and Workers have.
 */
import type { Readable } from 'node:stream';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface HttpFetch {
  /**
   * Sends one request and follows its redirects. Any status is an answer, not an error.
   *
   * @throws {NixcacheError} ERR_NETWORK; the signal's reason when `signal` aborts, before and during the body
   */
  request(request: HttpRequest): Promise<HttpResponse>;
}

export interface HttpRequest {
  readonly method?: HttpMethod | undefined;
  readonly url: string | URL;
  /** Lower-case names. `authorization` and `cookie` go to the origin of `url` and nowhere else. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A stream is destroyed on every path; give its `content-length`, or it travels chunked. */
  readonly body?: Uint8Array | Readable | undefined;
  /** The `authorization` for another origin that a redirect leads to, unless that is from https to http. */
  readonly authorizationFor?: ((url: URL) => string | undefined) | undefined;
  /**
   * A body that is large, or that a slow reader may hold up. It has connections of its own, so that small requests never
   * wait behind such bodies, and `timeoutMs` begins when it has one: that others are busy is no failure of the far side.
   */
  readonly bulk?: boolean | undefined;
  /** Until the headers of the answer, sending included, for each of a chain of redirects; default 60 s. */
  readonly timeoutMs?: number | undefined;
  /** Longest silence within the answer's body; default 60 s. The body as a whole has no limit. */
  readonly stallTimeoutMs?: number | undefined;
  /** Of GET and HEAD; default 5. With 0, and for other methods, the redirect is the answer. */
  readonly maxRedirects?: number | undefined;
  /** Whether a redirect may lead from https to http, for bytes that are checked whatever way they come; default false. */
  readonly allowPlainRedirects?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Lower-case names; what an answer says several times is joined by `, `. */
export type HttpHeaders = Readonly<Record<string, string | undefined>>;

export interface HttpResponse {
  readonly status: number;
  readonly headers: HttpHeaders;
  /** To be read to its end or destroyed. It breaks with a NixcacheError. */
  readonly body: Readable;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  /** Where the request went first. */
  readonly asked: URL;
  /** A piece of the answer as it may be quoted: who answers may repeat what was sent. */
  readonly withoutSecrets?: ((text: string) => string) | undefined;
}

/** What messages say of a request. */
export interface Asked {
  readonly method: string;
  readonly url: URL;
  /** Where it went first; default `url`. */
  readonly asked?: URL | undefined;
  /** The proxy between, as messages name it: `proxy.example:3128 (HTTPS_PROXY)`. */
  readonly via?: string | undefined;
}

/** `GET https://registry/…`, and where redirects led it: a URL of storage alone need not say which content it is for. */
export function describeRequest({ method, url, asked = url }: Asked): string {
  const led = url.href === asked.href ? '' : `, redirected to ${redactUrl(url)}`;
  return `${method} ${redactUrl(asked)}${led}`;
}

/** What may be said about a URL, and to whom it belongs. */

/** Query parameters whose values are no secrets; every other value is left out of messages and logs. */
const PLAIN_PARAMETERS: ReadonlySet<string> = new Set(['digest', 'n', 'last', 'service', 'scope', 'mount', 'from']);

/** `url` without user name, password, fragment and the values of unknown query parameters (signed URLs carry keys). */
export function redactUrl(url: string | URL): string {
  const { protocol, host, pathname, searchParams } = new URL(url);
  const query = [...searchParams].map(([name, value]) => `${name}=${PLAIN_PARAMETERS.has(name) ? value : '***'}`);
  return `${protocol}//${host}${pathname}${query.length === 0 ? '' : `?${query.join('&')}`}`;
}

/** Whether `host`, with or without a port, can only mean this machine, so that plain http leaks nothing. */
export function isLoopbackHost(host: string): boolean {
  const url = `http://${/^[^[]*:.*:/.test(host) ? `[${host}]` : host}`;
  if (!/^[\w.:[\]-]+$/.test(host) || !URL.canParse(url)) return false;
  // In the one form that all others of an address have in a URL: that is where a request would go.
  const { hostname } = new URL(url);
  return /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\]|\[::ffff:7f[\da-f]{2}:[\da-f]+\])$/.test(hostname);
}
