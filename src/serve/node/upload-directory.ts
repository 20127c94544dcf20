/**
 * Uploads on a disk: `nars/` has files as they came, named as their URLs, `paths/` the journal, a record for each path, and
 * `incoming/` what is being written. A file appears by rename once its bytes are on the disk, and counts once its directory
 * is, too: what was acknowledged outlives the process and a loss of power. One process at a time has the directory.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, lstat, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { NixcacheError } from '../../errors.ts';
import { ioCodeOf, ioError, isAbsent } from '../../io-error.ts';
import { withFileLock } from '../../oci/layout/file-lock.ts';
import { makeDirectory } from '../../oci/make-directory.ts';
import { assertOwnDirectory, openRegular, readRegular } from '../../regular-file.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { NoRoomError } from '../upload/upload-error.ts';
import type { SpooledFile, SpoolFile, UploadSpool } from '../upload/upload-spool.ts';
import { DiskRoom } from './disk-room.ts';
import { SharedSync } from './shared-sync.ts';

/** What is uploaded may be nobody else's business. */
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;
/** Records have a listing at most, which has 64 MiB before it is compressed. */
const MAX_RECORD_BYTES = 128 * 1024 * 1024;
const READ_CHUNK_BYTES = 256 * 1024;
/** A server that is being replaced by its successor has ended by then. */
const LOCK_WAIT_MS = 3000;

export class UploadDirectory implements UploadSpool, AsyncDisposable {
  readonly name: string;
  readonly #nars: string;
  readonly #paths: string;
  readonly #incoming: string;
  readonly #syncs: Readonly<Record<'nars' | 'paths', SharedSync>>;
  readonly #room: DiskRoom;
  readonly #release: () => Promise<void>;

  private constructor(directory: string, release: () => Promise<void>) {
    this.name = directory;
    this.#nars = join(directory, 'nars');
    this.#paths = join(directory, 'paths');
    this.#incoming = join(directory, 'incoming');
    this.#room = new DiskRoom(directory);
    this.#syncs = { nars: new SharedSync(this.#nars), paths: new SharedSync(this.#paths) };
    this.#release = release;
  }

  /** @throws {NixcacheError} ERR_USAGE when another process has it; ERR_IO */
  static async open(directory: string): Promise<UploadDirectory> {
    const made = new UploadDirectory(directory, await lockDirectory(directory));
    try {
      // What no process is writing any more was never acknowledged.
      await rm(made.#incoming, { recursive: true, force: true });
      for (const each of [made.#nars, made.#paths, made.#incoming]) {
        await makeDirectory(each, { mode: DIRECTORY_MODE });
        await assertOwnDirectory(each);
      }
      await new SharedSync(directory).sync();
      return made;
    } catch (error) {
      await made.#release();
      throw diskError('keep uploads in', directory, error);
    }
  }

  async create(bytes: number): Promise<SpoolFile> {
    const room = await this.#attempt(() => this.#room.take(bytes));
    const path = join(this.#incoming, randomUUID());
    const handle = await open(path, 'wx', FILE_MODE).catch((error: unknown) => {
      room.release();
      throw diskError('write an upload to', this.name, error);
    });
    let isOpen = true;
    const close = async (): Promise<void> => {
      room.release();
      if (isOpen) await handle.close();
      isOpen = false;
    };
    return {
      write: (chunk) => this.#attempt(() => room.use(chunk.length, () => writeAll(handle, chunk))),
      keep: (name) =>
        this.#attempt(async () => {
          await handle.datasync();
          await close();
          await rename(path, join(this.#nars, name));
          await this.#syncs.nars.sync();
        }),
      discard: async () => {
        await close().catch(() => undefined);
        await rm(path, { force: true }).catch(() => undefined);
      },
    };
  }

  async openNar(name: string, range?: ByteRange): Promise<Readable> {
    const path = join(this.#nars, name);
    const handle = await openRegular(path, { links: 'refused' }).catch((cause: unknown) => {
      throw isAbsent(cause)
        ? new NixcacheError('ERR_NOT_FOUND', `${path} is not there`, { cause })
        : ioError('read', path, cause);
    });
    const part = range === undefined ? {} : { start: range.offset, end: range.offset + range.length - 1 };
    if (range?.length === 0) {
      await handle.close();
      return Readable.from([], { objectMode: false });
    }
    return handle.createReadStream({ highWaterMark: READ_CHUNK_BYTES, ...part });
  }

  async hasNar(name: string, size: number): Promise<boolean> {
    const path = join(this.#nars, name);
    try {
      return (await lstat(path)).size === size;
    } catch (cause) {
      if (isAbsent(cause)) return false;
      throw ioError('look at', path, cause);
    }
  }

  async removeNar(name: string): Promise<void> {
    await rm(join(this.#nars, name), { force: true }).catch(() => undefined);
  }

  async writeRecord(name: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.#incoming, randomUUID());
    await this.#attempt(async () => {
      const room = await this.#room.take(bytes.length);
      try {
        const handle = await open(path, 'wx', FILE_MODE);
        try {
          await room.use(bytes.length, () => writeAll(handle, bytes));
          await handle.datasync();
        } finally {
          await handle.close();
        }
        await rename(path, join(this.#paths, name));
      } catch (error) {
        await rm(path, { force: true }).catch(() => undefined);
        throw error;
      } finally {
        room.release();
      }
      await this.#syncs.paths.sync();
    });
  }

  async readRecord(name: string): Promise<Buffer> {
    const path = join(this.#paths, name);
    return readRegular(path, { links: 'refused', maxBytes: MAX_RECORD_BYTES }).catch((cause: unknown) => {
      throw isAbsent(cause)
        ? new NixcacheError('ERR_NOT_FOUND', `${path} is not there`, { cause })
        : ioError('read', path, cause);
    });
  }

  async removeRecord(name: string): Promise<void> {
    await rm(join(this.#paths, name), { force: true }).catch(() => undefined);
  }

  async list(): Promise<{ readonly nars: readonly SpooledFile[]; readonly records: readonly string[] }> {
    try {
      const nars: SpooledFile[] = [];
      for (const name of await readdir(this.#nars)) {
        const { size, mtime } = await stat(join(this.#nars, name));
        nars.push({ name, size, receivedAt: mtime });
      }
      return { nars, records: await readdir(this.#paths) };
    } catch (error) {
      throw diskError('look for uploads in', this.name, error);
    }
  }

  /** Gives the directory back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#release();
  }

  async #attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw diskError('keep an upload in', this.name, error);
    }
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten;
}

/** Locks `directory`, which is made if need be, until what this gives is called. */
async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  try {
    await makeDirectory(directory, { mode: DIRECTORY_MODE });
  } catch (error) {
    throw diskError('keep uploads in', directory, error);
  }
  const { promise: held, resolve: isHeld } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const use = (): Promise<void> => {
    isHeld();
    return released;
  };
  const locking = withFileLock(join(directory, 'lock'), use, { timeoutMs: LOCK_WAIT_MS });
  try {
    await Promise.race([held, locking]);
  } catch (cause) {
    throw new NixcacheError(
      'ERR_USAGE',
      `keep uploads in ${directory}: another nixcache serve has it: give each a directory of its own with --upload-dir`,
      { cause },
    );
  }
  return async () => {
    release();
    await locking.catch(() => undefined);
  };
}

/** What is not to be had for lack of room is another matter than a fault. */
function diskError(doing: string, directory: string, cause: unknown): NixcacheError {
  if (cause instanceof NixcacheError) return cause;
  const code = ioCodeOf(cause);
  const message = ioError(doing, directory, cause, 'choose another directory with --upload-dir').message;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new NoRoomError(message, { cause });
  return new NixcacheError('ERR_IO', message, { cause });
}
