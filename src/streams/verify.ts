/**
 * Streams that end in an error unless the bytes were the right ones.
 *
 * The last chunk is held back until the digest is known to be right. Whoever copies such a stream into an answer with a
 * Content-Length therefore sends all of a right blob or less than all of a wrong one, and never all of a wrong one.
 */

import { createHash } from 'node:crypto';
import { pipeline, type Readable, Transform } from 'node:stream';
import { abortReason, type CallOptions } from '../call-options.ts';
import { type ErrorCode, NixcacheError } from '../errors.ts';

/** What bytes have to be: `digest` is `sha256:<hex>`; without a `size` the digest alone counts. */
export interface ExpectedContent {
  readonly digest: string;
  readonly size?: number | undefined;
  /** Where the size is not known, what it is below: a source need not end. */
  readonly maxBytes?: number | undefined;
}

/**
 * Passes the bytes of `target` on, less its last chunk until all are verified. Ends in ERR_DIGEST_MISMATCH when they are
 * too few or have another digest, and as soon as they are too many. With no `target.size` only the digest counts.
 */
export function verifyStream(target: ExpectedContent, what = `blob ${target.digest}`): Transform {
  const hash = createHash('sha256');
  const { digest, size, maxBytes = size } = target;
  let seen = 0;
  let held: Buffer | undefined;
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      if (chunk.length === 0) return callback();
      seen += chunk.length;
      if (maxBytes !== undefined && seen > maxBytes) return callback(goesOn(what, maxBytes, size));
      hash.update(chunk);
      const ready = held;
      held = chunk;
      callback(null, ready);
    },
    flush(callback) {
      if (size !== undefined && seen !== size) {
        return callback(mismatch(`${what} ended after ${seen} of ${size} bytes`));
      }
      const found = `sha256:${hash.digest('hex')}`;
      if (found !== digest) return callback(mismatch(`${what} has the digest ${found}`));
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
 * Passes up to `maxBytes` on, and ends in ERR_DIGEST_MISMATCH as soon as they are more.
 */
export function verifyEnd(maxBytes: number, what: string): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      seen += chunk.length;
      if (seen > maxBytes) callback(goesOn(what, maxBytes, undefined));
      else callback(null, chunk);
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

const goesOn = (what: string, maxBytes: number, size: number | undefined): NixcacheError =>
  mismatch(`${what} goes on after ${size === undefined ? 'the most that it can have,' : 'its'} ${maxBytes} bytes`);

const mismatch = (message: string): NixcacheError => new NixcacheError('ERR_DIGEST_MISMATCH', message);
