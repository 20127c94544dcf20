/** The one way out of nixcache: made once per process (and per upstream proxy), passed down, closed at the end. */
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { abortable } from '../../call-options.ts';
import type { Environment } from '../../environment.ts';
import type { HttpFetch, HttpRequest, HttpResponse } from '../http-fetch.ts';
import { isLoopbackHost } from '../http-fetch.ts';
import { type Exchange, followRedirects } from '../redirects.ts';
import { type SecretKeeper, tellSecrets } from '../sent-secrets.ts';
import { type Lanes, openLanes } from './dispatchers.ts';
import { exchange } from './exchange.ts';
import { type ProxyServer, parseProxy, proxyFor } from './proxies.ts';
import { trustAsEnvironmentSays } from './trust.ts';

export interface HttpClientOptions {
  /** `http://…` or `socks5://…`, with userinfo if it wants it. Default: what the variables say of a URL. Never for loopback. */
  readonly proxy?: string | undefined;
  /** Where HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are looked up; default: our own. */
  readonly env?: Environment | undefined;
  /** Connections per origin, for large bodies as many again; default 128. Callers limit their own concurrency. */
  readonly connections?: number | undefined;
  readonly connectTimeoutMs?: number | undefined;
  readonly secrets?: SecretKeeper | undefined;
}

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

export class HttpClient implements HttpFetch {
  readonly #options: HttpClientOptions;
  #lanes: Promise<Lanes> | undefined;

  constructor(options: HttpClientOptions = {}) {
    this.#options = options;
  }

  request(request: HttpRequest): Promise<HttpResponse> {
    return followRedirects(request, async (each) => {
      const { secrets } = this.#options;
      if (secrets !== undefined) tellSecrets(each, secrets.onSecret);
      const { dispatcher, proxy } = await this.#route(each);
      const login = proxy?.password ?? proxy?.username; // a name alone may be a token
      if (login !== undefined) secrets?.onSecret(login, 'lasting');
      const response = await exchange(dispatcher, { ...each, via: proxy && `${proxy.host} (${proxy.from})` });
      return { ...response, withoutSecrets: secrets?.withoutSecrets };
    });
  }

  /** Makes ready for the first request, which tells what is wrong. */
  async load(): Promise<void> {
    await this.#open().catch(() => undefined);
  }

  /** Lets running requests end, then closes all connections. */
  async close(): Promise<void> {
    await Promise.all((await this.#opened()).map((each) => each.close()));
  }

  /** Ends everything now. */
  async destroy(): Promise<void> {
    await Promise.all((await this.#opened()).map((each) => each.destroy()));
  }

  /** What sends `each`, and the proxy that is between. @throws {NixcacheError} ERR_USAGE when a variable holds no proxy */
  async #route({
    url,
    body,
    bulk,
    signal,
  }: Exchange): Promise<{ dispatcher: Dispatcher; proxy: ProxyServer | undefined }> {
    const stream = body instanceof Readable ? body : undefined;
    stream?.on('error', () => undefined); // until undici is there to hear of it
    try {
      const lanes = await this.#open();
      if (url.protocol === 'https:') await abortable(trustAsEnvironmentSays(this.#options.env ?? process.env), signal);
      const proxy = this.#proxyFor(url);
      return { dispatcher: lanes[bulk ? 'bulk' : 'usual'].to(proxy), proxy };
    } catch (error) {
      stream?.destroy();
      throw error;
    }
  }

  #proxyFor(url: URL): ProxyServer | undefined {
    const { proxy, env = process.env } = this.#options;
    if (proxy === undefined) return proxyFor(url, env);
    return isLoopbackHost(url.hostname) ? undefined : parseProxy(proxy, "the upstream's proxy");
  }

  #open(): Promise<Lanes> {
    const { connections = 128, connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = this.#options;
    this.#lanes ??= openLanes({ connections, connectTimeoutMs });
    return this.#lanes;
  }

  async #opened(): Promise<readonly Dispatcher[]> {
    const lanes = await this.#lanes?.catch(() => undefined);
    return lanes === undefined ? [] : [...lanes.usual.all(), ...lanes.bulk.all()];
  }
}
