/** Parts of compressed NARs as files: beside the blobs on a layout, which then takes them over, else in TMPDIR. */
import { type FileHandle, lstat, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CallOptions } from '../../call-options.ts';
import { ownFileError } from '../../io-error.ts';
import { type NarPart, type NarSink, type PartLimits, PartWriter } from '../../nar/part-writer.ts';
import { type ContentStore, canAdoptFiles, type PushResult } from '../../oci/content-store.ts';
import { openRegular } from '../../regular-file.ts';
import { makeTemporaryDirectory, USE_TMPDIR } from '../../temporary-directory.ts';
import type { Spool } from '../write/spool.ts';

const PREFIX = 'nixcache-spool-';
/** A day: no run goes so long without a new file in its spool, and what is older was left by one that was killed. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;
const READ_CHUNK_BYTES = 256 * 1024;

/** Its directory is made when it is first needed, for a layout that is not there yet is made with it. */
export class DiskSpool implements Spool, AsyncDisposable {
  readonly #store: ContentStore;
  #directory: Promise<string> | undefined;

  /** For what goes to `store`. */
  constructor(store: ContentStore) {
    this.#store = store;
  }

  /** For workers that write files of their own. @throws {NixcacheError} ERR_IO */
  directory(): Promise<string> {
    this.#directory ??= makeDirectoryFor(this.#store);
    return this.#directory;
  }

  async open(limits: PartLimits): Promise<NarSink> {
    return new PartWriter({ ...limits, spoolDirectory: await this.directory() });
  }

  async send(
    { file, digest, size }: NarPart,
    mediaType: string,
    store: ContentStore,
    { signal }: CallOptions,
  ): Promise<PushResult> {
    const descriptor = { mediaType, digest, size };
    try {
      signal?.throwIfAborted();
      if (canAdoptFiles(store)) return await store.adoptFile(descriptor, file, { signal });
      const open = async () => (await openPart(file)).createReadStream({ highWaterMark: READ_CHUNK_BYTES });
      return await store.pushBlob(descriptor, open, { signal, isHashed: true });
    } finally {
      await rm(file, { force: true }).catch(() => undefined); // it goes with the directory
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const directory = await this.#directory?.catch(() => undefined); // told to who asked for it
    // What cannot be removed now is, as what a killed run leaves, removed later.
    if (directory !== undefined) await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

async function makeDirectoryFor(store: ContentStore): Promise<string> {
  // What a killed run leaves in a layout, a sweep of it removes.
  const parent = canAdoptFiles(store) ? await store.ingestDirectory() : undefined;
  const directory = await makeTemporaryDirectory(PREFIX, 'compressed NARs', parent);
  if (parent === undefined) await removeAbandoned(directory);
  return directory;
}

const openPart = (file: string): Promise<FileHandle> =>
  openRegular(file, { links: 'refused' }).catch((cause: unknown) => {
    throw ownFileError('read a compressed NAR from', file, cause, USE_TMPDIR);
  });

/** Of those beside `own`, which is new: its time is that of the disk, whose clock need not be ours. */
async function removeAbandoned(own: string): Promise<void> {
  const parent = dirname(own);
  const nowMs = await lstat(own).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  const names: readonly string[] = await readdir(parent).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(parent, name);
    try {
      const { mtimeMs } = await lstat(path);
      if (nowMs - mtimeMs > ABANDONED_MS) await rm(path, { recursive: true, force: true });
    } catch {
      // Another user's, or gone already: whoever may remove it will.
    }
  }
}
