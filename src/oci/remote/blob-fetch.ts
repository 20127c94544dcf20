/**
 * Reads a blob, or a range of it, however often the connection breaks. A broken body goes on where it broke off, through
 * the registry again: the signed URL of the storage behind it may have run out meanwhile.
 */

import { Readable } from 'node:stream';
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import type { ErrorCode, NixcacheError } from '../../errors.ts';
import type { HttpResponse } from '../../http/http-fetch.ts';
import { NetworkError } from '../../http/network-error.ts';
import { isRetryable } from '../../http/retry.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { checkRange } from '../../streams/byte-range.ts';
import { readThrough, verifyRange, verifyStream } from '../../streams/verify.ts';
import type { BlobTarget } from '../content-store.ts';
import { readRegistryError } from './registry-error.ts';
import type { Transport } from './transport.ts';

/** So many times in a row without one new byte; any progress starts the count again. */
const MAX_FRUITLESS_ATTEMPTS = 5;

/** 512 KiB wait between the socket and the reader. */
const BUFFER_BYTES = 512 * 1024;

export async function fetchBlob(
  transport: Transport,
  target: BlobTarget,
  options: CallOptions & { readonly range?: ByteRange | undefined } = {},
): Promise<Readable> {
  const { range, signal } = options;
  if (range !== undefined) checkRange(target, range);
  if (signal?.aborted === true) throw abortReason(signal);
  // Ends whatever request is under way when the reader or the caller gives up.
  const stop = new AbortController();
  const forward = (): void => stop.abort(signal?.reason);
  signal?.addEventListener('abort', forward, { once: true });
  try {
    const source = new BlobSource(transport, target, range, stop.signal);
    await source.open();
    const what = `blob ${target.digest} of ${transport.name}`;
    const checked = readThrough(
      Readable.from(source.chunks(), { objectMode: false, highWaterMark: BUFFER_BYTES }),
      range === undefined ? verifyStream(target, what) : verifyRange(range.length, `the range of ${what}`),
      { signal },
    );
    checked.once('close', () => {
      signal?.removeEventListener('abort', forward);
      stop.abort();
    });
    return checked;
  } catch (error) {
    signal?.removeEventListener('abort', forward);
    throw error;
  }
}

class BlobSource {
  readonly #transport: Transport;
  readonly #target: BlobTarget;
  readonly #range: ByteRange | undefined;
  readonly #signal: AbortSignal;
  /** Offset in the blob of the next byte to give out. */
  #position: number;
  /** Offset after the last byte wanted; undefined until an answer tells. */
  #end: number | undefined;
  #body: Readable | undefined;
  /** Bytes of the body before `#position`, from a server that ignores ranges. */
  #skip = 0;

  constructor(transport: Transport, target: BlobTarget, range: ByteRange | undefined, signal: AbortSignal) {
    this.#transport = transport;
    this.#target = target;
    this.#range = range;
    this.#signal = signal;
    this.#position = range?.offset ?? 0;
    this.#end = range === undefined ? target.size : range.offset + range.length;
  }

  /** Asks for the bytes from the position on. */
  async open(): Promise<void> {
    const { digest } = this.#target;
    const url = this.#transport.url(`blobs/${digest}`);
    const partial = this.#range !== undefined || this.#position > 0;
    const last = this.#end === undefined ? '' : this.#end - 1;
    const response = await this.#transport.send({
      method: 'GET',
      url,
      actions: 'pull',
      expect: partial ? [200, 206, 416] : [200],
      // Digests are over the stored bytes: no one may compress them on the way.
      headers: { 'accept-encoding': 'identity', ...(partial ? { range: `bytes=${this.#position}-${last}` } : {}) },
      bulk: this.#remaining() > BUFFER_BYTES,
      signal: this.#signal,
    });
    if (response.status === 416) await this.#outOfRange(response);
    this.#skip = response.status === 206 ? 0 : this.#position;
    this.#body = response.body;
    try {
      this.#checkExtent(response);
    } catch (error) {
      response.body.destroy();
      throw error;
    }
  }

  /** What is left from the position on, opened again as often as it breaks. */
  async *chunks(): AsyncGenerator<Buffer> {
    let fruitless = 0;
    try {
      while (this.#body !== undefined) {
        const before = this.#position;
        const failure = yield* this.#readBody(this.#body);
        if (failure === undefined) return;
        this.#body.destroy();
        fruitless = this.#position > before ? 1 : fruitless + 1;
        if (fruitless >= MAX_FRUITLESS_ATTEMPTS) throw failure;
        const { retrier } = this.#transport;
        const delayMs = retrier.backoffMs(fruitless);
        const event = { error: failure, attempt: fruitless, attempts: MAX_FRUITLESS_ATTEMPTS, delayMs, asked: false };
        await retrier.pause(event, this.#signal);
        await this.open();
      }
    } finally {
      this.#body?.destroy();
    }
  }

  /** Gives out what the body holds; returns why it broke off, or undefined when all is there. */
  async *#readBody(body: Readable): AsyncGenerator<Buffer, Error | undefined> {
    const chunks: AsyncIterator<Buffer> = body[Symbol.asyncIterator]();
    for (;;) {
      let next: IteratorResult<Buffer>;
      try {
        next = await chunks.next();
      } catch (error) {
        if (this.#signal.aborted || !isRetryable(error)) throw error;
        return error;
      }
      if (next.done === true) break;
      const skipped = Math.min(this.#skip, next.value.length);
      this.#skip -= skipped;
      const chunk = next.value.subarray(skipped, this.#range === undefined ? undefined : skipped + this.#remaining());
      this.#position += chunk.length;
      if (chunk.length > 0) yield chunk;
      // A server that ignores ranges sends more than was asked for.
      if (this.#range !== undefined && this.#remaining() === 0) return undefined;
    }
    return this.#end === undefined || this.#position >= this.#end ? undefined : this.#truncated();
  }

  #remaining(): number {
    return (this.#end ?? Number.POSITIVE_INFINITY) - this.#position;
  }

  #truncated(): NetworkError {
    const { host } = this.#transport.url('');
    return new NetworkError(
      `fetch blob ${this.#target.digest} of ${this.#transport.name}: the answer ended ${this.#remaining()} bytes too early`,
      { host, retryable: true },
    );
  }

  /** Refuses an answer for other bytes than those asked for; learns where the blob ends. */
  #checkExtent(response: HttpResponse): void {
    const { digest, size } = this.#target;
    let total: number | undefined;
    if (response.status === 206) {
      const [, first, whole] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '') ?? [];
      if (Number(first ?? Number.NaN) !== this.#position) {
        const got = response.headers['content-range'] ?? 'no Content-Range';
        throw this.#fault('ERR_REGISTRY', `asked for bytes from ${this.#position}, got ${got}`);
      }
      total = whole === undefined || whole === '*' ? undefined : Number(whole);
    } else if (response.headers['content-length'] !== undefined) {
      total = Number(response.headers['content-length']);
    }
    if (total !== undefined && size !== undefined && total !== size) {
      throw this.#fault('ERR_DIGEST_MISMATCH', `it has ${total} bytes instead of ${size}`);
    }
    if (this.#range === undefined) this.#end ??= total;
    else if (total !== undefined && this.#end !== undefined && this.#end > total) {
      checkRange({ digest, size: total }, this.#range, `blob ${digest} of ${this.#transport.name}`);
    }
  }

  async #outOfRange(response: HttpResponse): Promise<never> {
    const { size } = this.#target;
    const { kind, retrier } = this.#transport;
    const origin = this.#transport.url('').origin;
    const cause = await readRegistryError(response, { method: 'GET', kind, origin, now: retrier.clock.now() });
    if (this.#range !== undefined && size === undefined) {
      const { offset, length } = this.#range;
      throw this.#fault('ERR_RANGE', `it does not have ${length} bytes from ${offset} on`, { cause });
    }
    throw this.#fault('ERR_DIGEST_MISMATCH', `it ends before byte ${this.#position} of ${size}`, { cause });
  }

  #fault(code: ErrorCode, reason: string, options?: ErrorOptions): NixcacheError {
    return this.#transport.fault(code, `fetch blob ${this.#target.digest}`, reason, options);
  }
}
