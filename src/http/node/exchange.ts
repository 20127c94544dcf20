/**
 * One HTTP request and its answer over an undici dispatcher.
 *
 * Not undici's `request`: the body here ends in our errors, has a larger buffer, and the deadline covers everything up to
 * the headers while a body is only held to not stalling.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { abortReason } from '../../call-options.ts';
import type { HttpHeaders, HttpResponse } from '../http-fetch.ts';
import { networkError, ProxyRefusal, timeoutError } from '../network-error.ts';
import type { Exchange } from '../redirects.ts';

/** 512 KiB: eight reads of a socket; measured to be enough for loopback and any real network. */
const BODY_BUFFER_BYTES = 512 * 1024;
/** 1 KiB in the longest silence that is borne: whoever sends less keeps a connection busy, and nobody served. */
const MIN_PROGRESS_BYTES = 1024;

/** @throws {NixcacheError} ERR_NETWORK; ERR_INTERRUPTED, or the reason of the signal if that is a NixcacheError */
export function exchange(dispatcher: Dispatcher, request: Exchange): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const handler = new ExchangeHandler(request, resolve, reject);
    if (request.signal?.aborted === true) {
      handler.fail(abortReason(request.signal));
      return;
    }
    dispatcher.dispatch(
      {
        origin: request.url.origin,
        path: request.url.pathname + request.url.search,
        method: request.method,
        headers: request.headers,
        body: request.body ?? null,
        // undici closes the connection after every HEAD unless told not to, and we send more HEADs than anything else.
        reset: false,
        headersTimeout: request.timeoutMs,
        bodyTimeout: request.stallTimeoutMs,
      },
      handler,
    );
  });
}

class ExchangeHandler implements Dispatcher.DispatchHandler {
  readonly #request: Exchange;
  readonly #resolve: (response: HttpResponse) => void;
  readonly #reject: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  readonly #onAbort: () => void;
  #controller: Dispatcher.DispatchController | undefined;
  #body: ResponseBody | undefined;
  #failure: unknown;
  /** Runs while a stream is being sent. */
  #stallTimer: NodeJS.Timeout | undefined;
  /** Runs while a body comes. */
  #progressTimer: NodeJS.Timeout | undefined;
  #progress = 0;

  constructor(request: Exchange, resolve: (response: HttpResponse) => void, reject: (error: unknown) => void) {
    this.#request = request;
    this.#resolve = resolve;
    this.#reject = reject;
    const { bulk, signal } = request;
    if (!bulk) this.#startTimer();
    this.#onAbort = () => {
      if (signal !== undefined) this.fail(abortReason(signal));
    };
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Ends the exchange from our side, whatever state it is in. */
  fail(error: unknown): void {
    this.#settle();
    this.#failure ??= error;
    if (this.#body === undefined) this.#reject(this.#failure);
    else this.#body.destroy(toError(this.#failure));
    if (this.#request.body instanceof Readable) this.#request.body.destroy();
    this.#controller?.abort(toError(this.#failure));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#failure !== undefined) {
      controller.abort(toError(this.#failure));
      return;
    }
    const { body, bulk, stallTimeoutMs } = this.#request;
    if (bulk) this.#startTimer();
    if (!(body instanceof Readable)) return;
    this.#stallTimer = setTimeout(() => {
      this.fail(
        timeoutError(`nothing could be sent for ${Math.round(stallTimeoutMs / 1000)} s`, this.#request, {
          silent: true,
        }),
      );
    }, stallTimeoutMs);
  }

  onBodySent(): void {
    this.#stallTimer?.refresh();
  }

  onRequestSent(): void {
    clearTimeout(this.#stallTimer);
    // Cleared timers come back with refresh().
    this.#stallTimer = undefined;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return;
    clearTimeout(this.#timer);
    this.onRequestSent();
    const body = new ResponseBody(controller);
    body.once('close', () => this.#settle());
    this.#body = body;
    const { url, asked, stallTimeoutMs } = this.#request;
    this.#progressTimer = setInterval(() => this.#checkProgress(body), stallTimeoutMs);
    this.#resolve({ status, headers: joined(headers), body, url, asked });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#progress += chunk.length;
    if (this.#body?.push(chunk) === false) controller.pause();
  }

  onResponseEnd(): void {
    clearInterval(this.#progressTimer);
    this.#body?.push(null);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    // undici takes a proxy's 407 to a plain request for a wrong argument; those proper are found before a request starts.
    const isLogin = this.#request.via !== undefined && this.#controller !== undefined && isArgumentError(error);
    const isInBody = this.#body !== undefined;
    this.fail(networkError(isLogin ? new ProxyRefusal(407) : error, this.#request, { isInBody }));
  }

  #startTimer(): void {
    const { timeoutMs } = this.#request;
    this.#timer = setTimeout(() => {
      this.fail(timeoutError(`no answer within ${Math.round(timeoutMs / 1000)} s`, this.#request, { silent: true }));
    }, timeoutMs);
  }

  /** Of a body that drips each byte would count as a sign of life. Where the reader is slow, nobody else need be quick. */
  #checkProgress(body: ResponseBody): void {
    const isSlow = this.#progress < MIN_PROGRESS_BYTES && body.readableLength === 0;
    this.#progress = 0;
    const { stallTimeoutMs } = this.#request;
    const what = `fewer than ${MIN_PROGRESS_BYTES} bytes came within ${Math.round(stallTimeoutMs / 1000)} s`;
    if (isSlow) this.fail(timeoutError(what, this.#request));
  }

  #settle(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#progressTimer);
    this.onRequestSent();
    this.#request.signal?.removeEventListener('abort', this.#onAbort);
  }
}

class ResponseBody extends Readable {
  readonly #controller: Dispatcher.DispatchController;

  constructor(controller: Dispatcher.DispatchController) {
    super({ highWaterMark: BODY_BUFFER_BYTES });
    this.#controller = controller;
    // An error that comes before anyone listens stays in `errored` for the reader; it must not end the process.
    this.on('error', () => {});
  }

  override _read(): void {
    this.#controller.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Given up before its end: the connection goes, for the rest cannot be skipped cheaply. After the end it is a no-op.
    this.#controller.abort(error ?? new Error('the reader closed the body'));
    callback(error);
  }
}

const joined = (headers: IncomingHttpHeaders): HttpHeaders =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value].flat().join(', ')]));

const isArgumentError = (error: Error): boolean => 'code' in error && error.code === 'UND_ERR_INVALID_ARG';

const toError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));
