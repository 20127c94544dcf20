/**
 * Streams that end in an error unless the bytes were the right ones.
 *
 * The last chunk is held back until the digest is known to be right. Whoever copies such a stream into an answer with a
 * Content-Length therefore sends all of a right blob or less than all of a wrong one, and never all of a wrong one.
 */
import { createHash } from 'node:crypto';
import { pipeline, type Readable, Transform } from 'node:stream';
import { type ErrorCode, NixcacheError } from '../errors.ts';
import type { BlobTarget, ByteRange, CallOptions } from './content-store.ts';
import { hexOf } from './digest.ts';

/**
 * Passes the bytes of `target` on, less its last chunk until all are verified. Ends in ERR_DIGEST_MISMATCH when they are
 * too few or have another digest, and as soon as they are too many. With no `target.size` only the digest counts.
 */
export function verifyStream(target: BlobTarget): Transform {
  const hash = createHash('sha256');
  const { digest, size } = target;
  let seen = 0;
  let held: Buffer | undefined;
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      if (chunk.length === 0) return callback();
      seen += chunk.length;
      if (size !== undefined && seen > size)
        return callback(mismatch(`blob ${digest} goes on after its ${size} bytes`));
      hash.update(chunk);
      const ready = held;
      held = chunk;
      callback(null, ready);
    },
    flush(callback) {
      if (size !== undefined && seen !== size) {
        return callback(mismatch(`blob ${digest} ended after ${seen} of ${size} bytes`));
      }
      const found = hash.digest('hex');
      if (found !== hexOf(digest)) return callback(mismatch(`blob ${digest} has the digest sha256:${found}`));
      callback(null, held);
    },
  });
}

/** Passes exactly `length` bytes on, and ends in ERR_DIGEST_MISMATCH when they are fewer, or as soon as they are more. */
export function verifyRange(length: number, what = 'the range'): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      seen += chunk.length;
      if (seen > length) return callback(mismatch(`${what} goes on after its ${length} bytes`));
      callback(null, chunk);
    },
    flush(callback) {
      callback(seen === length ? null : mismatch(`${what} ended after ${seen} of ${length} bytes`));
    },
  });
}

/**
 * Sends `source` through `check` and returns what comes out. An error or a destroy of either end reaches the other, and
 * an abort destroys both with the signal's reason, so the caller has only the returned stream to look after.
 */
export function readThrough(source: Readable, check: Transform, options: CallOptions = {}): Readable {
  const { signal } = options;
  const abort = (): void => {
    check.destroy(abortReason(signal));
  };
  // The callback is where a pipeline reports; the same error ends `check`, where the reader meets it.
  pipeline(source, check, () => signal?.removeEventListener('abort', abort));
  if (signal?.aborted) abort();
  else signal?.addEventListener('abort', abort, { once: true });
  return check;
}

/**
 * All of `stream`, which is closed on every path; never more than `maxBytes` and a chunk in memory.
 *
 * @throws {NixcacheError} `code` when there are more bytes, `what` naming the content
 */
export async function readBounded(
  stream: Readable,
  maxBytes: number,
  what: string,
  code: ErrorCode = 'ERR_REGISTRY',
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let seen = 0;
  for await (const chunk of stream as AsyncIterable<Buffer | string>) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    seen += bytes.length;
    if (seen > maxBytes) throw new NixcacheError(code, `${what} is longer than ${maxBytes} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks, seen);
}

/**
 * Refuses a range that is empty or not within `target.size` (where that is known).
 *
 * @throws {NixcacheError} ERR_RANGE
 */
export function checkRange(target: BlobTarget, range: ByteRange): void {
  const { offset, length } = range;
  const end = offset + length;
  const whole = Number.isSafeInteger(end) && Number.isSafeInteger(offset);
  if (whole && offset >= 0 && length > 0 && end <= (target.size ?? end)) return;
  const size = target.size === undefined ? '' : `, which has ${target.size}`;
  throw new NixcacheError('ERR_RANGE', `${length} bytes from ${offset} on are not in blob ${target.digest}${size}`);
}

/** What an aborted call rejects with: the signal's reason, as an error. */
export function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new NixcacheError('ERR_INTERRUPTED', 'stopped', { cause: reason });
}

const mismatch = (message: string): NixcacheError => new NixcacheError('ERR_DIGEST_MISMATCH', message);
