/** What both adapters have in common: one request is as many exchanges as there are redirects. */
import type { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { NixcacheError } from '../errors.ts';
import { USER_AGENT } from '../version.ts';
import { authorizationInUrl } from './basic-authorization.ts';
import type { Asked, HttpMethod, HttpRequest, HttpResponse } from './http-fetch.ts';
import { describeRequest, isLoopbackHost, redactUrl } from './http-fetch.ts';

/** One request and its one answer: nothing is followed. */
export interface Exchange {
  readonly method: HttpMethod;
  readonly url: URL;
  /** What was asked for before any redirect. */
  readonly asked: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** A stream is destroyed on every path. It needs a `content-length` header, or travels chunked. */
  readonly body?: Uint8Array | Readable | undefined;
  /** Has connections of its own, and time only runs when it has one. */
  readonly bulk: boolean;
  /** Until the headers of the answer, sending and, unless it is in bulk, connecting included. */
  readonly timeoutMs: number;
  /** Longest silence within a body, either way. */
  readonly stallTimeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** The proxy between, as messages name it. */
  readonly via?: string | undefined;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_REDIRECTS = 5;
export const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
/** What belongs to the first origin alone. */
const CREDENTIAL_HEADERS: ReadonlySet<string> = new Set([
  ...['authorization', 'cookie', 'proxy-authorization', 'x-amz-security-token'],
]);

/** The last answer to `request`, each exchange of which `exchange` does. @throws {NixcacheError} ERR_NETWORK */
export async function followRedirects(
  request: HttpRequest,
  exchange: (each: Exchange) => Promise<HttpResponse>,
): Promise<HttpResponse> {
  const { method = 'GET', timeoutMs = DEFAULT_TIMEOUT_MS, stallTimeoutMs = DEFAULT_TIMEOUT_MS, bulk = false } = request;
  const { signal, body, allowPlainRedirects = false } = request;
  const maxRedirects = method === 'GET' || method === 'HEAD' ? (request.maxRedirects ?? MAX_REDIRECTS) : 0;
  const asked = new URL(request.url);
  let url = asked;
  let headers: Readonly<Record<string, string>> = { 'user-agent': USER_AGENT, ...request.headers };
  assertSendable(headers, { method, url });
  for (let followed = 0; ; followed += 1) {
    const times = { timeoutMs, stallTimeoutMs, bulk };
    const response = await exchange({ method, url, asked, headers, body, signal, ...times });
    const location = response.headers['location'];
    if (maxRedirects === 0 || location === undefined || !REDIRECTS.includes(response.status)) return response;
    await discardBody(response.body);
    if (followed === maxRedirects) {
      throw new NixcacheError(
        'ERR_NETWORK',
        `${describeRequest({ method, asked, url })}: more than ${maxRedirects} redirects`,
      );
    }
    const next = redirectTarget(location, { method, asked, url }, allowPlainRedirects);
    if (next.origin !== url.origin) headers = headersFor(next, headers, request);
    url = next;
  }
}

/** A token, or a media type, is what somebody else says it is. The value stays unsaid, for it may be a secret. */
function assertSendable(headers: Readonly<Record<string, string>>, request: Asked): void {
  for (const [name, value] of Object.entries(headers)) {
    if (SENDABLE.test(value)) continue;
    throw new NixcacheError(
      'ERR_NETWORK',
      `${describeRequest(request)}: the value for the header ${name} has characters that HTTP cannot carry`,
    );
  }
}

/** RFC 9110 5.5: `field-value`. */
const SENDABLE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Reads the rest of a small body so that its connection can be used again; a large or slow one is cut off instead. */
export async function discardBody(body: Readable): Promise<void> {
  let size = 0;
  const timer = setTimeout(() => body.destroy(), MAX_DISCARD_MS);
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > MAX_DISCARDED_BYTES) break;
    }
  } catch {
    // No one wanted it: that it broke off changes nothing.
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
  // undici takes a connection back one turn later; whoever goes on at once would open another.
  await nextTurn();
}

/** 64 KiB: reading more takes longer than a new connection. */
const MAX_DISCARDED_BYTES = 64 * 1024;
/** Waiting longer does, too. */
const MAX_DISCARD_MS = 1000;

function redirectTarget(location: string, request: Asked, allowPlain: boolean): URL {
  const from = request.url;
  if (!URL.canParse(location, from.href)) {
    throw new NixcacheError('ERR_NETWORK', `${describeRequest(request)}: redirects to what is no URL`);
  }
  const target = new URL(location, from);
  const allowed =
    target.protocol === 'https:' ||
    (target.protocol === 'http:' && (allowPlain || from.protocol === 'http:' || isLoopbackHost(target.hostname)));
  if (!allowed) {
    throw new NixcacheError(
      'ERR_NETWORK',
      `${describeRequest(request)}: redirects from ${from.protocol.slice(0, -1)} to ${redactUrl(target)}, which is not protected; refused`,
    );
  }
  return target;
}

/** Those for another origin: without what belongs to the first, and with what belongs to that one. */
function headersFor(
  next: URL,
  headers: Readonly<Record<string, string>>,
  request: HttpRequest,
): Readonly<Record<string, string>> {
  const authorization = authorizationAt(next, request);
  return { ...withoutCredentials(headers), ...(authorization === undefined ? {} : { authorization }) };
}

/** What goes to `other`, which `url` leads to: the login in it, or else the user's. Nothing in the clear where `url` is not. */
export function authorizationAt(
  other: URL,
  { url, authorizationFor }: Pick<HttpRequest, 'url' | 'authorizationFor'>,
): string | undefined {
  const isExposed = new URL(url).protocol === 'https:' && other.protocol !== 'https:' && !isLoopbackHost(other.host);
  return isExposed ? undefined : (authorizationInUrl(other) ?? authorizationFor?.(other));
}

const withoutCredentials = (headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !CREDENTIAL_HEADERS.has(name.toLowerCase())));
