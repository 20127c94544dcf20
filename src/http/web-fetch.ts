/** The port over the `fetch` of the platform: for Workers, which have no sockets, no proxies and no undici. */
import { Readable } from 'node:stream';
import { abortReason } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import type { HttpFetch, HttpHeaders, HttpRequest, HttpResponse } from './http-fetch.ts';
import { describeRequest } from './http-fetch.ts';
import { NetworkError, networkError, timeoutError } from './network-error.ts';
import { type Exchange, followRedirects } from './redirects.ts';

export class WebFetch implements HttpFetch {
  readonly #fetch: typeof fetch;

  /** `fetch` must hand redirects back as they are, as those of Node and Workers do, and no browser's. */
  constructor(platformFetch: typeof fetch = (...call) => fetch(...call)) {
    this.#fetch = platformFetch;
  }

  request(request: HttpRequest): Promise<HttpResponse> {
    return followRedirects(request, (each) => exchange(this.#fetch, each));
  }
}

async function exchange(send: typeof fetch, request: Exchange): Promise<HttpResponse> {
  const { method, url, asked, headers, body, timeoutMs, signal } = request;
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(abortReason(signal));
  const late = timeoutError(`no answer within ${Math.round(timeoutMs / 1000)} s`, request, { silent: true });
  const timer = setTimeout(() => stop.abort(late), timeoutMs);
  const settle = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  };
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  try {
    if (stop.signal.aborted) throw stop.signal.reason;
    const response = await send(url, {
      ...{ method, redirect: 'manual', signal: stop.signal, headers },
      // Half: the request is sent to its end before the answer is read. fetch refuses a stream without it.
      ...(body instanceof Readable ? { body: streamed(body, headers['content-length']), duplex: 'half' } : {}),
      ...(body instanceof Uint8Array ? { body: body as Uint8Array<ArrayBuffer> } : {}),
    });
    clearTimeout(timer);
    const answer = new WebBody(response.body?.getReader(), request, stop.signal);
    answer.once('close', settle);
    return { status: response.status, headers: headersOf(response), body: answer, url, asked };
  } catch (error) {
    settle();
    throw stop.signal.aborted ? stop.signal.reason : failure(error, request);
  } finally {
    if (body instanceof Readable) body.destroy();
  }
}

/** Workers send a stream chunked, whatever its headers say, unless it comes through their own FixedLengthStream. */
function streamed(body: Readable, length: string | undefined): ReadableStream {
  const stream = Readable.toWeb(body) as ReadableStream;
  const Fixed: (new (length: number) => TransformStream) | undefined = Reflect.get(globalThis, 'FixedLengthStream');
  return length === undefined || Fixed === undefined ? stream : stream.pipeThrough(new Fixed(Number(length)));
}

/** `fetch` has undone any compression: the length and coding that the headers tell are those of other bytes. */
function headersOf({ headers }: Response): HttpHeaders {
  const all = Object.fromEntries(headers);
  if ((all['content-encoding'] ?? 'identity') === 'identity') return all;
  const { 'content-encoding': _, 'content-length': __, ...rest } = all;
  return rest;
}

/** A platform need not give its errors a code: what is no known failure is a connection that broke. */
function failure(error: unknown, request: Exchange): Error {
  const { host } = request.url;
  const known = networkError(error, request);
  if (known instanceof NixcacheError) return known;
  const message = `${describeRequest(request)}: the connection to ${host} broke (${messageOf(error)})`;
  return new NetworkError(message, { cause: error, host, retryable: true });
}

/** Not Readable.fromWeb: this one ends in our errors, and in one when nothing comes for too long. */
class WebBody extends Readable {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #request: Exchange;
  readonly #signal: AbortSignal;
  readonly #onAbort = (): void => void this.destroy(this.#signal.reason);

  constructor(reader: ReadableStreamDefaultReader<Uint8Array> | undefined, request: Exchange, signal: AbortSignal) {
    super();
    this.#reader = reader;
    this.#request = request;
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    // An error that comes before anyone listens stays in `errored` for the reader; it must not end the process.
    this.on('error', () => {});
  }

  override _read(): void {
    const { url, stallTimeoutMs } = this.#request;
    const timer = setTimeout(() => {
      this.destroy(timeoutError(`${url.host} stopped sending in the middle of the body`, this.#request));
    }, stallTimeoutMs);
    const none = { done: true, value: undefined } as const;
    Promise.resolve(this.#reader?.read() ?? none)
      .then(({ value }) => this.push(value ?? null))
      .catch((error: unknown) => this.destroy(failure(error, this.#request)))
      .finally(() => clearTimeout(timer));
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    // The connection goes with it; that it was already gone changes nothing.
    this.#reader?.cancel().catch(() => {});
    callback(error);
  }
}
