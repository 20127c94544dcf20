/**
 * One repository of one registry, spoken to politely: authorized, never more at once than the host bears, retried when
 * the same request may succeed later. Credentials go to the registry's own origin and nowhere else.
 */
import { Readable } from 'node:stream';
import { type ErrorCode, NixcacheError } from '../../errors.ts';
import type { AdaptiveLimit } from '../../http/concurrency.ts';
import { HttpError } from '../../http/http-error.ts';
import type { HttpFetch, HttpMethod, HttpResponse } from '../../http/http-fetch.ts';
import { isLoopbackHost, redactUrl } from '../../http/http-fetch.ts';
import { timeoutError } from '../../http/network-error.ts';
import { discardBody } from '../../http/redirects.ts';
import type { Retrier } from '../../http/retry.ts';
import { readBounded } from '../../streams/verify.ts';
import type { Actions, Authorizer } from './auth.ts';
import { RegistryClock } from './registry-clock.ts';
import { RegistryError, readRegistryError } from './registry-error.ts';
import type { RegistryKind } from './registry-kinds.ts';

export interface RegistryRequest {
  readonly method: HttpMethod;
  /** Below `/v2/<repository>`, or a URL that the registry named and `resolve` let pass. */
  readonly url: URL;
  readonly actions: Actions;
  /** Statuses that are answers; all others become a RegistryError. */
  readonly expect: readonly number[];
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | Readable | undefined;
  readonly timeoutMs?: number | undefined;
  /** A large body, with connections of its own. */
  readonly bulk?: boolean | undefined;
  readonly stallTimeoutMs?: number | undefined;
  readonly maxRedirects?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TransportOptions {
  /** The repository as the user writes it, for messages. */
  readonly name: string;
  readonly http: HttpFetch;
  /** Origin of the API, `https://ghcr.io/`. */
  readonly registry: URL;
  readonly repository: string;
  readonly kind: RegistryKind;
  readonly authorizer: Authorizer;
  readonly retrier: Retrier;
  /** For all of a small answer, from its headers on. */
  readonly documentTimeoutMs: number;
  /** Of requests that read, until their headers; of requests that write, until their end. */
  readonly limits: { readonly read: AdaptiveLimit; readonly write: AdaptiveLimit };
}

export class Transport {
  readonly name: string;
  readonly kind: RegistryKind;
  readonly clock = new RegistryClock();
  readonly retrier: Retrier;
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.name = options.name;
    this.kind = options.kind;
    this.retrier = options.retrier;
  }

  /** What is wrong with the answer got while `doing`. Every error of this room says so what was asked for, and where. */
  fault(code: ErrorCode, doing: string, reason: string, options?: ErrorOptions): NixcacheError {
    return new NixcacheError(code, `${doing} of ${this.name}: ${reason}`, options);
  }

  /** `https://host/v2/<repository>/<path>` */
  url(path: string): URL {
    return new URL(`/v2/${this.#options.repository}/${path}`, this.#options.registry);
  }

  /** Sends `request`, whose body must not be a stream, until it is answered or fails for good. */
  send(request: RegistryRequest): Promise<HttpResponse> {
    return this.retrier.run(() => this.sendOnce(request), { signal: request.signal });
  }

  /**
   * Sends `request` once; only a 401 is answered with new authorization and the same request. A stream cannot be sent
   * again: then the error is retryable, and the caller begins anew with the new authorization. The body of the answer
   * to anything but GET has been read.
   *
   * @throws {NixcacheError} RegistryError for statuses not expected; ERR_NETWORK
   */
  sendOnce(request: RegistryRequest): Promise<HttpResponse> {
    const { read, write } = this.#options.limits;
    const limit = request.method === 'GET' || request.method === 'HEAD' ? read : write;
    return limit.run(() => this.#exchange(request), isThrottle, request.signal);
  }

  /**
   * All of the small answer that `request`, a GET, is given. Asked for again when it breaks off, and once when it dribbles
   * in for longer than it may take; so not for blobs, whose length nothing bounds.
   */
  fetchDocument(
    request: RegistryRequest,
    { maxBytes, what }: { readonly maxBytes: number; readonly what: string },
  ): Promise<{ readonly response: HttpResponse; readonly bytes: Buffer }> {
    const { documentTimeoutMs } = this.#options;
    let late = 0;
    const attempt = async (): Promise<{ response: HttpResponse; bytes: Buffer }> => {
      const response = await this.sendOnce(request);
      const timer = setTimeout(() => {
        late += 1;
        const what = `no whole answer within ${documentTimeoutMs / 1000} s`;
        response.body.destroy(timeoutError(what, request, { retryable: late < MAX_LATE }));
      }, documentTimeoutMs);
      try {
        return { response, bytes: await readBounded(response.body, maxBytes, `${what} of ${this.name}`) };
      } finally {
        clearTimeout(timer);
      }
    };
    return this.retrier.run(attempt, { signal: request.signal });
  }

  /**
   * The URL that a header of the answer from `from`, got while `doing`, names. Registries behind a proxy that ends TLS may
   * name themselves with http: what has our host is ours, and is asked as we asked before.
   *
   * @throws {NixcacheError} ERR_REGISTRY when it is no URL, or leads to another host without TLS
   */
  resolve(location: string, from: URL, doing: string): URL {
    const { registry } = this.#options;
    const url = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
    if (url?.protocol === 'http:' && registry.protocol === 'https:' && url.hostname === registry.hostname) {
      return new URL(url.pathname + url.search, registry);
    }
    const plainButHere = url?.protocol === 'http:' && isLoopbackHost(url.hostname) && isLoopbackHost(registry.hostname);
    if (url !== undefined && (url.origin === registry.origin || url.protocol === 'https:' || plainButHere)) return url;
    const what = url === undefined ? 'what is no URL' : redactUrl(url);
    throw this.fault('ERR_REGISTRY', doing, `${redactUrl(from)} leads on to ${what}: not https, refused`);
  }

  /** Whether `url` is of the registry itself, so that it may have our credentials. */
  isOwn(url: URL): boolean {
    return url.origin === this.#options.registry.origin;
  }

  async #exchange(request: RegistryRequest): Promise<HttpResponse> {
    const { authorizer } = this.#options;
    const { actions, signal } = request;
    const own = this.isOwn(request.url);
    let authorization = own ? await authorizer.authorization(actions, signal) : undefined;
    let response = await this.#request(request, authorization);
    // Tokens for other sets of actions, fetched when this one was, have run out with it; a fresh one is asked for once.
    for (let last = false; !last && response.status === 401 && own && this.isOwn(response.url); ) {
      const renewed = await this.#renew(request, authorization, response);
      if (renewed === undefined) break;
      authorization = renewed.authorization;
      last = renewed.isFresh;
      response = await this.#request(request, authorization);
    }
    if (request.expect.includes(response.status)) {
      // Within the limit, so that the connection is free for whoever comes next.
      if (request.method !== 'GET') await discardBody(response.body);
      return response;
    }
    throw await readRegistryError(response, this.#context(request));
  }

  /** New authorization after a 401 if there is any; the answer stays unread if there is none. */
  async #renew(
    request: RegistryRequest,
    refused: string | undefined,
    response: HttpResponse,
  ): Promise<{ readonly authorization: string | undefined; readonly isFresh: boolean } | undefined> {
    const { authorizer } = this.#options;
    const { actions, signal, body } = request;
    let renewed: 'held' | 'fresh' | undefined;
    try {
      renewed = await authorizer.renew(actions, refused, response.headers['www-authenticate'], signal);
    } catch (error) {
      response.body.destroy();
      throw error;
    }
    if (renewed === undefined) return undefined;
    if (body instanceof Readable) {
      const error = await readRegistryError(response, this.#context(request));
      const facts = { ...error, url: response.url, retryable: true, retryAfterMs: 0 };
      throw new RegistryError(error.code, 'authorization ran out', facts, []);
    }
    await discardBody(response.body);
    return { authorization: await authorizer.authorization(actions, signal), isFresh: renewed === 'fresh' };
  }

  async #request(request: RegistryRequest, authorization: string | undefined): Promise<HttpResponse> {
    const { method, url, body, bulk, timeoutMs, stallTimeoutMs, maxRedirects, signal } = request;
    const headers = { ...request.headers, ...(authorization === undefined ? {} : { authorization }) };
    const times = { timeoutMs: this.retrier.answerTimeoutMs(timeoutMs), stallTimeoutMs };
    const asked = { method, url, headers, body, bulk, maxRedirects, signal, ...times };
    const response = await this.#options.http.request(asked);
    if (this.isOwn(response.url)) this.clock.heard(response.headers);
    return response;
  }

  #context({ method }: RegistryRequest): Parameters<typeof readRegistryError>[1] {
    const { kind, registry, retrier } = this.#options;
    return { method, kind, origin: registry.origin, now: retrier.clock.now() };
  }
}

/** Each time costs a whole deadline. */
const MAX_LATE = 2;

/** What slows us down: the host said that it is too much. Other faults have other causes. */
const isThrottle = (outcome: { readonly value: unknown } | { readonly error: unknown }): boolean =>
  'error' in outcome &&
  outcome.error instanceof HttpError &&
  (outcome.error.status === 429 || outcome.error.status === 503);
