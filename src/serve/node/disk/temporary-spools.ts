/**
 * What was received of downloads, for those who join them late: in memory while that is little, then in files that have no name
 * any more, so that nothing is left of them however this process ends.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { ByteRange } from '../../../streams/byte-range.ts';
import type { Spool, Spools } from '../../object-cache.ts';
import { readAll } from './read-all.ts';

export interface TemporarySpoolsOptions {
  /** For the files: not one that lies in memory. */
  readonly directory: string;
  /** Of all of them together; default 64 MiB. */
  readonly memoryBytes?: number | undefined;
  /** What the file system keeps free for others; default 1 GiB. */
  readonly freeBytes?: number | undefined;
}

const MEMORY_BYTES = 64 * 1024 * 1024;
const FREE_BYTES = 1024 * 1024 * 1024;
/** So often it is looked how much is free. */
const LOOK_BYTES = 32 * 1024 * 1024;

export class TemporarySpools implements Spools {
  readonly #directory: string;
  readonly #freeBytes: number;
  /** That may still be held in memory. */
  memoryLeft: number;

  constructor({ directory, memoryBytes = MEMORY_BYTES, freeBytes = FREE_BYTES }: TemporarySpoolsOptions) {
    this.#directory = directory;
    this.#freeBytes = freeBytes;
    this.memoryLeft = memoryBytes;
  }

  begin(): Spool {
    return new TemporarySpool(this);
  }

  async openFile(): Promise<FileHandle> {
    const path = join(this.#directory, `.spool-${randomUUID()}`);
    const handle = await open(path, 'wx+', 0o600);
    await rm(path, { force: true });
    return handle;
  }

  /** @throws when too little would be left to others */
  async assertRoom(): Promise<void> {
    const { bavail, bsize } = await statfs(this.#directory);
    if (bavail * bsize < this.#freeBytes + LOOK_BYTES) throw new RangeError('there is too little room on the disk');
  }
}

class TemporarySpool implements Spool {
  readonly #spools: TemporarySpools;
  /** All of it, as long as there is no file. */
  #chunks: Buffer[] = [];
  #length = 0;
  #file: FileHandle | undefined;
  #lookAt = 0;
  #isClosed = false;

  constructor(spools: TemporarySpools) {
    this.#spools = spools;
  }

  async append(chunk: Buffer): Promise<void> {
    if (this.#file === undefined && chunk.length <= this.#spools.memoryLeft) {
      this.#spools.memoryLeft -= chunk.length;
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      return;
    }
    if (this.#file === undefined) await this.#moveToFile();
    await this.#write(chunk, this.#length);
    this.#length += chunk.length;
  }

  async read({ offset, length }: ByteRange): Promise<Buffer> {
    if (this.#file !== undefined) return await readAll(this.#file, offset, length);
    let end = this.#length;
    for (let i = this.#chunks.length - 1; i >= 0; i -= 1) {
      const chunk = this.#chunks[i] as Buffer;
      const start = end - chunk.length;
      if (offset >= start) return chunk.subarray(offset - start, offset - start + length);
      end = start;
    }
    throw new RangeError(`there is nothing at ${offset}`);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#letGo();
    void this.#file?.close().catch(() => undefined);
  }

  async #moveToFile(): Promise<void> {
    const file = await this.#spools.openFile();
    try {
      let at = 0;
      for (const chunk of this.#chunks) {
        await this.#write(chunk, at, file);
        at += chunk.length;
      }
    } catch (error) {
      await file.close();
      throw error;
    }
    this.#file = file;
    this.#letGo();
  }

  async #write(chunk: Buffer, position: number, file = this.#file): Promise<void> {
    if (position + chunk.length > this.#lookAt) {
      await this.#spools.assertRoom();
      this.#lookAt = position + chunk.length + LOOK_BYTES;
    }
    for (let at = 0; at < chunk.length; ) {
      at += (await file?.write(chunk, at, chunk.length - at, position + at))?.bytesWritten ?? chunk.length;
    }
  }

  #letGo(): void {
    for (const { length } of this.#chunks) this.#spools.memoryLeft += length;
    this.#chunks = [];
  }
}
