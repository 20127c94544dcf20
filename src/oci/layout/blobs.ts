/**
 * The blobs of an image layout.
 *
 * A file gets its name under blobs/ only when its bytes have been hashed and synced. So a file that is there is whole,
 * after `kill -9` and after a power cut alike, and 'existed' may be told from its name and size. The names themselves
 * become durable before index.json does (editor.ts). The syncs of concurrent pushes share the journal's commits:
 * 800 files of 300 kB took 0.45 s with them, 0.2 s with one round of syncs at the end, which nothing would overlap.
 *
 * Each 'existed' sets the file's time to now, which keeps a sweep from it for the grace period. The order matters: first
 * touch, then say yes; the sweep for its part takes the name away before it looks at the time (sweep.ts).
 */

import { type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import pLimit from 'p-limit';
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import { ioCodeOf, ioError, isAbsent, ownFileError } from '../../io-error.ts';
import { NotRegular, openRegular, readRegular } from '../../regular-file.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { checkRange } from '../../streams/byte-range.ts';
import { readThrough, verifyRange, verifyStream } from '../../streams/verify.ts';
import { bytesContent } from '../bytes-content.ts';
import type { BlobTarget, OpenContent, PushResult } from '../content-store.ts';
import type { Descriptor } from '../descriptor.ts';
import { type Digest, digestOf } from '../digest.ts';
import { renew } from './file-time.ts';
import { discard, type LayoutFiles } from './files.ts';

/** 256 KiB: with the 64 KiB default, reading costs more in turns of the event loop than in copying. */
const READ_CHUNK_BYTES = 256 * 1024;
/** Of libuv's four threads; the fourth is left to compression and reads. */
const SYNCS_AT_ONCE = 3;

/** 'unprotected': there, but its time cannot be set, because the file is another user's or the disk read-only. */
export type Presence = 'present' | 'unprotected' | 'absent';

export class LayoutBlobs {
  readonly #files: LayoutFiles;
  readonly #syncLimit = pLimit(SYNCS_AT_ONCE);

  constructor(files: LayoutFiles) {
    this.#files = files;
  }

  /** Whether the blob is there with the right size; if so it is as new to the sweep. */
  async touch(target: BlobTarget): Promise<Presence> {
    const path = this.#files.blob(target.digest);
    let presence: Presence = 'present';
    try {
      await renew(path);
    } catch (cause) {
      if (isAbsent(cause)) return 'absent';
      if (!['EPERM', 'EACCES', 'EROFS'].includes(ioCodeOf(cause) ?? '')) throw ioError('touch', path, cause);
      presence = 'unprotected';
    }
    const size = await this.sizeOf(target.digest);
    // Another size is what a damaged disk or a careless copy left: pushing it again heals it.
    return size !== undefined && size === (target.size ?? size) ? presence : 'absent';
  }

  /** In bytes; undefined if it is not there. What is no regular file is no blob: pushing it again puts one in its place. */
  async sizeOf(digest: Digest): Promise<number | undefined> {
    const path = this.#files.blob(digest);
    try {
      const stats = await lstat(path);
      return stats.isFile() ? stats.size : undefined;
    } catch (cause) {
      if (isAbsent(cause)) return undefined;
      throw ioError('look for', path, cause);
    }
  }

  async write(expected: Descriptor, openContent: OpenContent, options: CallOptions = {}): Promise<PushResult> {
    const { signal } = options;
    if (signal?.aborted) throw abortReason(signal);
    if ((await this.touch(expected)) === 'present') return 'existed';
    const content = readThrough(await openContent(), verifyStream(expected), options);
    const temporary = this.#files.temporary('blob');
    try {
      await this.#files.makeIngest();
      await this.#store(content, temporary);
      if (signal?.aborted) throw abortReason(signal);
      await this.#name(temporary, expected.digest);
      return 'pushed';
    } catch (error) {
      content.destroy();
      await discard(temporary);
      throw error;
    }
  }

  writeBytes(expected: Descriptor, bytes: Uint8Array, options: CallOptions = {}): Promise<PushResult> {
    return this.write(expected, bytesContent(bytes), options);
  }

  async adopt(expected: Descriptor, file: string, options: CallOptions = {}): Promise<PushResult> {
    if (options.signal?.aborted) throw abortReason(options.signal);
    try {
      if ((await this.touch(expected)) === 'present') {
        await rm(file);
        return 'existed';
      }
      const { size } = await lstat(file);
      if (size !== expected.size) {
        throw new NixcacheError(
          'ERR_DIGEST_MISMATCH',
          `adopt ${file} as blob ${expected.digest}: it has ${size} bytes, not ${expected.size}`,
        );
      }
      const handle = await openRegular(file, { links: 'refused' });
      try {
        await this.#sync(handle);
      } finally {
        await handle.close();
      }
      // It may have been finished long ago, and would be old to a sweep.
      await renew(file);
    } catch (cause) {
      throw ownFileError('adopt', file, cause);
    }
    await this.#name(file, expected.digest);
    return 'pushed';
  }

  /** @throws {NixcacheError} ERR_NOT_FOUND, ERR_RANGE */
  async read(target: BlobTarget, range: ByteRange | undefined, options: CallOptions): Promise<Readable> {
    if (range) checkRange(target, range);
    if (options.signal?.aborted) throw abortReason(options.signal);
    const handle = await this.#open(target.digest);
    try {
      if (!range) return readThrough(streamOf(handle), verifyStream(target), options);
      if (target.size === undefined) checkRange({ ...target, size: (await handle.stat()).size }, range);
      const part = streamOf(handle, range.offset, range.offset + range.length - 1);
      return readThrough(part, verifyRange(range.length, `the range of blob ${target.digest}`), options);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * The verified bytes of a small blob; undefined if it is not there or is longer than `maxBytes`.
   *
   * @throws {NixcacheError} ERR_DIGEST_MISMATCH
   */
  async readSmall(digest: Digest, maxBytes: number): Promise<Buffer | undefined> {
    const size = await this.sizeOf(digest);
    if (size === undefined || size > maxBytes) return undefined;
    const path = this.#files.blob(digest);
    try {
      const bytes = await readRegular(path, { links: 'refused', maxBytes });
      const found = digestOf(bytes);
      if (found === digest) return bytes;
      throw new NixcacheError(
        'ERR_DIGEST_MISMATCH',
        `read ${path}: its bytes have the digest ${found}; remove the damaged file and publish again`,
      );
    } catch (cause) {
      if (isAbsent(cause) || cause instanceof NotRegular) return undefined;
      throw ioError('read', path, cause);
    }
  }

  async #store(content: Readable, temporary: string): Promise<void> {
    const attempt = async <T>(act: Promise<T>): Promise<T> => {
      try {
        return await act;
      } catch (cause) {
        throw ownFileError('write', temporary, cause);
      }
    };
    const handle = await attempt(open(temporary, 'wx'));
    try {
      for await (const chunk of content as AsyncIterable<Buffer>) await attempt(handle.writeFile(chunk));
      await attempt(this.#sync(handle));
    } finally {
      await attempt(handle.close());
    }
  }

  #sync(handle: FileHandle): Promise<void> {
    return this.#syncLimit(() => handle.datasync());
  }

  async #name(file: string, digest: Digest): Promise<void> {
    const path = this.#files.blob(digest);
    await rename(file, path).catch((cause: unknown) => {
      throw ownFileError(`move ${file} to`, path, cause);
    });
  }

  async #open(digest: Digest): Promise<FileHandle> {
    const path = this.#files.blob(digest);
    try {
      return await openRegular(path, { links: 'refused' });
    } catch (cause) {
      if (cause instanceof NotRegular)
        throw new NixcacheError('ERR_NOT_FOUND', `read blob ${digest}: ${cause.message}`, { cause });
      if (isAbsent(cause))
        throw new NixcacheError('ERR_NOT_FOUND', `read blob ${digest}: ${path} is not there`, { cause });
      throw ioError('read', path, cause);
    }
  }
}

function streamOf(handle: FileHandle, start?: number, end?: number): Readable {
  const range = start === undefined || end === undefined ? {} : { start, end };
  return handle.createReadStream({ highWaterMark: READ_CHUNK_BYTES, ...range });
}
