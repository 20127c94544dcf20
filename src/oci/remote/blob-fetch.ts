/**
 * Reads a blob, or a range of it, however often the connection breaks. A broken body goes on where it broke off, through
 * the registry again: the signed URL of the storage behind it may have run out meanwhile.
 */

import type { Readable } from 'node:stream';
import type { CallOptions } from '../../call-options.ts';
import type { ErrorCode, NixcacheError } from '../../errors.ts';
import type { HttpResponse } from '../../http/http-fetch.ts';
import { NetworkError } from '../../http/network-error.ts';
import { isRetryable } from '../../http/retry.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { checkRange } from '../../streams/byte-range.ts';
import { type Failure, type Opened, openResumed } from '../../streams/resumed-stream.ts';
import { verifyRange, verifyStream } from '../../streams/verify.ts';
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
  const source = new BlobSource(transport, target, range);
  const what = `blob ${target.digest} of ${transport.name}`;
  const check = range === undefined ? verifyStream(target, what) : verifyRange(range.length, `the range of ${what}`);
  return openResumed(
    {
      open: (offset, stop) => source.open(offset, stop),
      size: () => source.size,
      endedAt: (position) => source.truncated(position),
      retry: (failure, stop) => retry(transport, failure, stop),
      // A server that ignores ranges sends more than was asked for.
      cut: range !== undefined,
      bufferBytes: BUFFER_BYTES,
      signal,
    },
    check,
  );
}

/** A request has had its own attempts. */
async function retry(
  { retrier }: Transport,
  { error, fruitless, opening }: Failure,
  signal: AbortSignal,
): Promise<void> {
  if (opening || signal.aborted || !isRetryable(error) || fruitless >= MAX_FRUITLESS_ATTEMPTS) throw error;
  const delayMs = retrier.backoffMs(fruitless);
  await retrier.pause({ error, attempt: fruitless, attempts: MAX_FRUITLESS_ATTEMPTS, delayMs, asked: false }, signal);
}

/** Offsets are in what is wanted: the blob, or the range of it. */
class BlobSource {
  readonly #transport: Transport;
  readonly #target: BlobTarget;
  readonly #range: ByteRange | undefined;
  /** Bytes wanted; undefined until an answer tells. */
  size: number | undefined;

  constructor(transport: Transport, target: BlobTarget, range: ByteRange | undefined) {
    this.#transport = transport;
    this.#target = target;
    this.#range = range;
    this.size = range === undefined ? target.size : range.length;
  }

  /** Asks for the bytes from `offset` on. */
  async open(offset: number, signal: AbortSignal): Promise<Opened> {
    const from = this.#inBlob(offset);
    const partial = this.#range !== undefined || offset > 0;
    const last = this.size === undefined ? '' : this.#inBlob(this.size) - 1;
    const response = await this.#transport.send({
      method: 'GET',
      url: this.#transport.url(`blobs/${this.#target.digest}`),
      actions: 'pull',
      expect: partial ? [200, 206, 416] : [200],
      // Digests are over the stored bytes: no one may compress them on the way.
      headers: { 'accept-encoding': 'identity', ...(partial ? { range: `bytes=${from}-${last}` } : {}) },
      bulk: this.#remaining(offset) > BUFFER_BYTES,
      signal,
    });
    if (response.status === 416) await this.#outOfRange(response, from);
    try {
      this.#checkExtent(response, from);
    } catch (error) {
      response.body.destroy();
      throw error;
    }
    return { body: response.body, skip: response.status === 206 ? 0 : from };
  }

  truncated(offset: number): NetworkError {
    const { host } = this.#transport.url('');
    const what = `blob ${this.#target.digest} of ${this.#transport.name}`;
    return new NetworkError(`fetch ${what}: the answer ended ${this.#remaining(offset)} bytes too early`, {
      host,
      retryable: true,
    });
  }

  #inBlob(offset: number): number {
    return (this.#range?.offset ?? 0) + offset;
  }

  #remaining(offset: number): number {
    return (this.size ?? Number.POSITIVE_INFINITY) - offset;
  }

  /** Refuses an answer for other bytes than those asked for; learns where the blob ends. */
  #checkExtent(response: HttpResponse, from: number): void {
    const { digest, size } = this.#target;
    let total: number | undefined;
    if (response.status === 206) {
      const [, first, whole] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '') ?? [];
      if (Number(first ?? Number.NaN) !== from) {
        const got = response.headers['content-range'] ?? 'no Content-Range';
        throw this.#fault('ERR_REGISTRY', `asked for bytes from ${from}, got ${got}`);
      }
      total = whole === undefined || whole === '*' ? undefined : Number(whole);
    } else if (response.headers['content-length'] !== undefined) {
      total = Number(response.headers['content-length']);
    }
    if (total !== undefined && size !== undefined && total !== size) {
      throw this.#fault('ERR_DIGEST_MISMATCH', `it has ${total} bytes instead of ${size}`);
    }
    if (this.#range === undefined) this.size ??= total;
    else if (total !== undefined) {
      checkRange({ digest, size: total }, this.#range, `blob ${digest} of ${this.#transport.name}`);
    }
  }

  async #outOfRange(response: HttpResponse, from: number): Promise<never> {
    const { size } = this.#target;
    const { kind, retrier } = this.#transport;
    const origin = this.#transport.url('').origin;
    const cause = await readRegistryError(response, { method: 'GET', kind, origin, now: retrier.clock.now() });
    if (this.#range !== undefined && size === undefined) {
      const { offset, length } = this.#range;
      throw this.#fault('ERR_RANGE', `it does not have ${length} bytes from ${offset} on`, { cause });
    }
    throw this.#fault('ERR_DIGEST_MISMATCH', `it ends before byte ${from} of ${size}`, { cause });
  }

  #fault(code: ErrorCode, reason: string, options?: ErrorOptions): NixcacheError {
    return this.#transport.fault(code, `fetch blob ${this.#target.digest}`, reason, options);
  }
}
