/** Small content, read whole; and how damage of content is told from damage on the way to it. */
import type { CallOptions } from '../call-options.ts';
import { type ErrorCode, isNixcacheError } from '../errors.ts';
import { readBounded } from '../streams/verify.ts';
import type { BlobFetcher, BlobTarget } from './content-store.ts';

export interface ReadBlobOptions extends CallOptions {
  readonly maxBytes: number;
  /** For messages. */
  readonly what: string;
  /** Of the error when there are more bytes; default ERR_REGISTRY. */
  readonly code?: ErrorCode | undefined;
}

/**
 * All of the blob `target`, asked for again as `untilIntact` says.
 *
 * @throws {NixcacheError} what fetchBlob throws, and `code`
 */
export function readBlob(store: BlobFetcher, target: BlobTarget, options: ReadBlobOptions): Promise<Buffer> {
  const { maxBytes, what, code, signal } = options;
  return untilIntact(async () => readBounded(await store.fetchBlob(target, { signal }), maxBytes, what, code));
}

/** In all. Chance does not damage the same bytes three times, and what is damaged where it lies is told soon enough. */
const MAX_READS = 3;

/**
 * What `read`, which checks what it reads by digest, gives; asked for again when that is damaged. The damage may be of the
 * way, or of one replica behind the registry's name: the content is damaged only if it stays so.
 */
export async function untilIntact<T>(read: () => Promise<T>): Promise<T> {
  for (let reads = 1; ; reads += 1) {
    try {
      return await read();
    } catch (error) {
      if (reads === MAX_READS || !isNixcacheError(error, 'ERR_DIGEST_MISMATCH')) throw error;
    }
  }
}
