/** The one way out of nixcache: made once per process (and per upstream proxy), passed down, closed at the end. */
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { HttpFetch, HttpRequest, HttpResponse } from '../http-fetch.ts';
import { isLoopbackHost } from '../http-fetch.ts';
import { type Exchange, followRedirects } from '../redirects.ts';
import { exchange } from './exchange.ts';

export interface HttpClientOptions {
  /** `http://…` or `socks5://…`, with userinfo if it wants it. Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. Never for loopback. */
  readonly proxy?: string | undefined;
  /** Connections per origin, for large bodies as many again; default 128. Callers limit their own concurrency. */
  readonly connections?: number | undefined;
  readonly connectTimeoutMs?: number | undefined;
}

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** Longer than a build between two pushes mostly takes, shorter than the 60 s after which load balancers hang up. */
const KEEP_ALIVE_MS = 30_000;

export class HttpClient implements HttpFetch {
  readonly #options: HttpClientOptions;
  #dispatchers: Promise<Lanes> | undefined;

  constructor(options: HttpClientOptions = {}) {
    this.#options = options;
  }

  request(request: HttpRequest): Promise<HttpResponse> {
    return followRedirects(request, async (each) => {
      const { direct, outward } = (await this.#open(each.body))[each.bulk ? 'bulk' : 'usual'];
      return await exchange(isLoopbackHost(each.url.hostname) ? direct : outward, each);
    });
  }

  /** Makes ready for the first request, which tells what is wrong. */
  async load(): Promise<void> {
    await this.#open(undefined).catch(() => undefined);
  }

  /** Lets running requests end, then closes all connections. */
  async close(): Promise<void> {
    await Promise.all((await this.#opened()).map((each) => each.close()));
  }

  /** Ends everything now. */
  async destroy(): Promise<void> {
    await Promise.all((await this.#opened()).map((each) => each.destroy()));
  }

  async #open(body: Exchange['body']): Promise<Lanes> {
    const stream = body instanceof Readable ? body : undefined;
    stream?.on('error', () => undefined); // until undici is there to hear of it
    try {
      this.#dispatchers ??= openLanes(this.#options);
      return await this.#dispatchers;
    } catch (error) {
      stream?.destroy();
      throw error;
    }
  }

  async #opened(): Promise<readonly Dispatcher[]> {
    const opened = await this.#dispatchers?.catch(() => undefined);
    return opened ? [...new Set(Object.values(opened).flatMap(({ direct, outward }) => [direct, outward]))] : [];
  }
}

interface Dispatchers {
  readonly direct: Dispatcher;
  /** To other hosts than this one. */
  readonly outward: Dispatcher;
}

/** Connections for large bodies and others for all else: what waits behind one another is of one kind. */
interface Lanes {
  readonly usual: Dispatchers;
  readonly bulk: Dispatchers;
}

/** undici takes a while to load, and many commands send no request. */
async function openLanes(options: HttpClientOptions): Promise<Lanes> {
  const undici = await import('undici');
  return { usual: openDispatchers(undici, options), bulk: openDispatchers(undici, options) };
}

function openDispatchers(
  { Agent, EnvHttpProxyAgent, ProxyAgent, Socks5ProxyAgent }: typeof import('undici'),
  { proxy, connections, connectTimeoutMs }: HttpClientOptions,
): Dispatchers {
  const options = {
    // HTTP/2 over one connection is slower for uploads than several of HTTP/1.1, and one stall would hold up all.
    allowH2: false,
    pipelining: 1,
    connections: connections ?? 128,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectTimeout: connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
    autoSelectFamily: true,
  };
  const direct = new Agent(options);
  if (proxy !== undefined) {
    const isSocks = /^socks5?:/.test(proxy);
    return {
      direct,
      outward: isSocks ? new Socks5ProxyAgent(proxy, options) : new ProxyAgent({ ...options, uri: proxy }),
    };
  }
  const names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'];
  return { direct, outward: names.some((name) => process.env[name]) ? new EnvHttpProxyAgent(options) : direct };
}
