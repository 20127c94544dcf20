/** The one way out of nixcache: made once per process (and per upstream proxy), passed down, closed at the end. */
import { Agent, type Dispatcher, EnvHttpProxyAgent, ProxyAgent, Socks5ProxyAgent } from 'undici';
import type { HttpFetch, HttpRequest, HttpResponse } from '../http-fetch.ts';
import { isLoopbackHost } from '../http-fetch.ts';
import { followRedirects } from '../redirects.ts';
import { exchange } from './exchange.ts';

export interface HttpClientOptions {
  /** `http://…` or `socks5://…`, with userinfo if it wants it. Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. Never for loopback. */
  readonly proxy?: string | undefined;
  /** Connections per origin; default 128. Callers limit their own concurrency, this only bounds mistakes. */
  readonly connections?: number | undefined;
  readonly connectTimeoutMs?: number | undefined;
}

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** Longer than a build between two pushes mostly takes, shorter than the 60 s after which load balancers hang up. */
const KEEP_ALIVE_MS = 30_000;

export class HttpClient implements HttpFetch {
  readonly #direct: Dispatcher;
  readonly #outward: Dispatcher;

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
  }

  request(request: HttpRequest): Promise<HttpResponse> {
    return followRedirects(request, (each) =>
      exchange(isLoopbackHost(each.url.hostname) ? this.#direct : this.#outward, each),
    );
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
