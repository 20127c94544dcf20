/** The one way out of nixcache: made once per process (and per upstream proxy), passed down, closed at the end. */
import type { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Agent, type Dispatcher, EnvHttpProxyAgent, ProxyAgent, Socks5ProxyAgent } from 'undici';
import { NixcacheError } from '../errors.ts';
import { exchange, type HttpMethod, type HttpResponse } from './exchange.ts';
import { isLoopbackHost, redactUrl } from './url.ts';
import { userAgent } from './user-agent.ts';

export interface HttpClientOptions {
  /** `http://…` or `socks5://…`, with userinfo if it wants it. Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. Never for loopback. */
  readonly proxy?: string | undefined;
  /** Connections per origin; default 128. Callers limit their own concurrency, this only bounds mistakes. */
  readonly connections?: number | undefined;
  readonly connectTimeoutMs?: number | undefined;
  readonly userAgent?: string | undefined;
}

export interface HttpRequest {
  readonly method?: HttpMethod | undefined;
  readonly url: string | URL;
  /** Lower-case names. `authorization` and `cookie` go to the origin of `url` and nowhere else. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A stream is destroyed on every path; give its `content-length`, or it travels chunked. */
  readonly body?: Uint8Array | Readable | undefined;
  /** Until the headers of the last answer, redirects and sending included; default 60 s. */
  readonly timeoutMs?: number | undefined;
  /** Longest silence within the answer's body; default 60 s. The body as a whole has no limit. */
  readonly stallTimeoutMs?: number | undefined;
  /** Of GET and HEAD; default 5. With 0, and for other methods, the redirect is the answer. */
  readonly maxRedirects?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** Longer than a build between two pushes mostly takes, shorter than the 60 s after which load balancers hang up. */
const KEEP_ALIVE_MS = 30_000;
const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** What belongs to the first origin alone. */
const CREDENTIAL_HEADERS = ['authorization', 'cookie', 'proxy-authorization'] as const;

export class HttpClient {
  readonly #direct: Dispatcher;
  readonly #outward: Dispatcher;
  readonly #userAgent: string;

  constructor(options: HttpClientOptions = {}) {
    const agentOptions: AgentOptions = {
      // HTTP/2 over one connection is slower for uploads than several of HTTP/1.1, and one stall would hold up all.
      allowH2: false,
      pipelining: 1,
      connections: options.connections ?? 128,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectTimeout: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
      autoSelectFamily: true,
    };
    this.#direct = new Agent(agentOptions);
    this.#outward = outwardDispatcher(options.proxy, agentOptions) ?? this.#direct;
    this.#userAgent = options.userAgent ?? userAgent();
  }

  /**
   * Sends one request and follows its redirects. Any status is an answer, not an error.
   *
   * @throws {NixcacheError} ERR_NETWORK; ERR_INTERRUPTED when `signal` aborts, before and during the body
   */
  async request(request: HttpRequest): Promise<HttpResponse> {
    const {
      method = 'GET',
      timeoutMs = DEFAULT_TIMEOUT_MS,
      stallTimeoutMs = DEFAULT_TIMEOUT_MS,
      signal,
      body,
    } = request;
    const deadline = performance.now() + timeoutMs;
    const maxRedirects = method === 'GET' || method === 'HEAD' ? (request.maxRedirects ?? MAX_REDIRECTS) : 0;
    let url = new URL(request.url);
    let headers: Record<string, string> = { 'user-agent': this.#userAgent, ...request.headers };
    for (let followed = 0; ; followed += 1) {
      const dispatcher = isLoopbackHost(url.hostname) ? this.#direct : this.#outward;
      const remainingMs = Math.max(1, deadline - performance.now());
      const response = await exchange(dispatcher, {
        ...{ method, url, headers, body, stallTimeoutMs, signal },
        timeoutMs: remainingMs,
      });
      const { location } = response.headers;
      if (maxRedirects === 0 || location === undefined || !REDIRECTS.has(response.status)) return response;
      await discardBody(response.body);
      if (followed === maxRedirects) {
        throw new NixcacheError('ERR_NETWORK', `${method} ${redactUrl(url)}: more than ${maxRedirects} redirects`);
      }
      const next = redirectTarget(location, url, method);
      if (next.origin !== url.origin) headers = withoutCredentials(headers);
      url = next;
    }
  }

  /** Lets running requests end, then closes all connections. */
  async close(): Promise<void> {
    await Promise.all([this.#direct.close(), this.#outward === this.#direct ? undefined : this.#outward.close()]);
  }

  /** Ends everything now. */
  async destroy(): Promise<void> {
    await Promise.all([this.#direct.destroy(), this.#outward === this.#direct ? undefined : this.#outward.destroy()]);
  }
}

/** Reads the rest of a small body so that its connection can be used again; a large one is cut off instead. */
export async function discardBody(body: Readable): Promise<void> {
  let size = 0;
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > MAX_DISCARDED_BYTES) break;
    }
  } catch {
    // No one wanted it: that it broke off changes nothing.
  } finally {
    body.destroy();
  }
  // undici takes a connection back one turn later; whoever goes on at once would open another.
  await nextTurn();
}

/** 64 KiB: reading more takes longer than a new connection. */
const MAX_DISCARDED_BYTES = 64 * 1024;

function redirectTarget(location: string, from: URL, method: HttpMethod): URL {
  if (!URL.canParse(location, from.href)) {
    throw new NixcacheError('ERR_NETWORK', `${method} ${redactUrl(from)}: redirects to what is no URL`);
  }
  const target = new URL(location, from);
  const allowed =
    target.protocol === 'https:' ||
    (target.protocol === 'http:' && (from.protocol === 'http:' || isLoopbackHost(target.hostname)));
  if (!allowed) {
    throw new NixcacheError(
      'ERR_NETWORK',
      `${method} ${redactUrl(from)}: redirects from https to ${redactUrl(target)}, which is not protected; refused`,
    );
  }
  return target;
}

function withoutCredentials(headers: Readonly<Record<string, string>>): Record<string, string> {
  const kept = Object.entries(headers).filter(
    ([name]) => !(CREDENTIAL_HEADERS as readonly string[]).includes(name.toLowerCase()),
  );
  return Object.fromEntries(kept);
}

interface AgentOptions {
  readonly allowH2: boolean;
  readonly pipelining: number;
  readonly connections: number;
  readonly keepAliveTimeout: number;
  readonly connectTimeout: number;
  readonly autoSelectFamily: boolean;
}

function outwardDispatcher(proxy: string | undefined, options: AgentOptions): Dispatcher | undefined {
  if (proxy !== undefined) {
    if (/^socks5?:/.test(proxy)) return new Socks5ProxyAgent(proxy, options);
    return new ProxyAgent({ ...options, uri: proxy });
  }
  const names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'];
  return names.some((name) => process.env[name]) ? new EnvHttpProxyAgent(options) : undefined;
}
