/**
 * The files of an image layout, and how they come to be. opencontainers/image-spec v1.1.1 image-layout.md
 *
 *     oci-layout               {"imageLayoutVersion":"1.0.0"}
 *     index.json               the tags; written under .index.lock
 *     blobs/sha256/<hex>       content; a file has its name only once its bytes are whole and on the disk
 *     .ingest/                 files being written; no reader looks there
 *     .index.lock              empty; see file-lock.ts
 *
 * Links in the layout are not followed, so that nothing outside is served, written or deleted; the directory itself may be
 * reached through one.
 */
import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import {
  access,
  constants,
  lstat,
  open,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { messageOf, NixcacheError } from '../../errors.ts';
import { ioError, isAbsent, ownFileError } from '../../io-error.ts';
import { assertOwnDirectory, readRegular } from '../../regular-file.ts';
import { type Digest, hexOf } from '../digest.ts';
import { makeDirectory } from '../make-directory.ts';
import { IMAGE_INDEX } from '../manifest.ts';
import { withFileLock } from './file-lock.ts';

const LAYOUT_VERSION = '1.0.0';
/** 4 KiB: it has some thirty. */
const MAX_MARKER_BYTES = 4096;
const OWN_NAMES = new Set(['oci-layout', 'index.json', 'blobs', '.ingest', '.index.lock']);

/** The paths inside one layout, all absolute. */
export class LayoutFiles {
  readonly root: string;
  readonly marker: string;
  readonly index: string;
  readonly lock: string;
  readonly blobs: string;
  readonly ingest: string;

  constructor(path: string) {
    this.root = resolve(path);
    this.marker = join(this.root, 'oci-layout');
    this.index = join(this.root, 'index.json');
    this.lock = join(this.root, '.index.lock');
    this.blobs = join(this.root, 'blobs', 'sha256');
    this.ingest = join(this.root, '.ingest');
  }

  blob(digest: Digest): string {
    return join(this.blobs, hexOf(digest));
  }

  /** A new name in the ingest directory. */
  temporary(kind: string): string {
    return join(this.ingest, `${kind}-${process.pid}-${randomUUID()}`);
  }

  /**
   * Refuses a layout whose directories lie elsewhere. To be called again before anything is written or deleted in them.
   *
   * @throws {NixcacheError} ERR_IO
   */
  async assertOwn(): Promise<void> {
    for (const directory of [dirname(this.blobs), this.blobs, this.ingest]) {
      await assertOwnDirectory(directory).catch((cause: unknown) => {
        throw ioError('look at', directory, cause);
      });
    }
  }

  /** Makes the ingest directory: git, or an archive, may have dropped it, for it was empty. @throws {NixcacheError} ERR_IO */
  async makeIngest(): Promise<void> {
    await this.assertOwn();
    await makeDirectory(this.ingest).catch((cause: unknown) => {
      throw ioError('create', this.ingest, cause);
    });
  }

  /** Runs `use` while no other process changes the tags. @throws {NixcacheError} ERR_IO */
  async withLock<T>(use: () => Promise<T>): Promise<T> {
    // SQLite follows links, and waits for whoever writes to a named pipe.
    const stats = await lstat(this.lock).catch((cause: unknown) => {
      if (!isAbsent(cause)) throw ioError('lock', this.lock, cause);
      return undefined;
    });
    if (stats && !stats.isFile()) {
      throw new NixcacheError('ERR_IO', `lock ${this.lock}: it is no regular file; remove it`);
    }
    return withFileLock(this.lock, use);
  }
}

export type LayoutState = 'layout' | 'absent';

/**
 * What lies at the path: a layout of the one version there is, or nothing at all. Nothing means no directory either:
 * an empty one may be a file system that is not mounted, and taking that for an empty cache would publish all anew.
 *
 * @throws {NixcacheError} ERR_INDEX, ERR_USAGE, ERR_IO
 */
export async function inspectLayout(files: LayoutFiles): Promise<LayoutState> {
  let text: string;
  try {
    text = (await readRegular(files.marker, { links: 'refused', maxBytes: MAX_MARKER_BYTES })).toString('utf8');
  } catch (cause) {
    if (!isAbsent(cause)) throw ioError('read', files.marker, cause);
    // Also refuses a link that leads nowhere.
    const names = await list(files.root);
    if (names === undefined) return 'absent';
    // A creator at work: it locks first and writes index.json and oci-layout last.
    if (names.includes('.index.lock') && isUnfinished(names)) return names.includes('index.json') ? 'layout' : 'absent';
    throw new NixcacheError(
      'ERR_USAGE',
      `${files.root} is a directory but no OCI image layout (it has no oci-layout file); is the file system mounted, and the path right?`,
    );
  }
  checkVersion(text, files.marker);
  await files.assertOwn();
  return 'layout';
}

/** What lies where a writer wants a layout, and is not in its way. @throws {NixcacheError} ERR_USAGE, ERR_IO */
export async function placeForLayout(files: LayoutFiles): Promise<'layout' | 'directory' | 'nothing'> {
  const names = await list(files.root);
  if (names === undefined) return 'nothing';
  if (names.includes('oci-layout')) return 'layout';
  if (isUnfinished(names)) return 'directory';
  throw new NixcacheError(
    'ERR_USAGE',
    `${files.root} holds other files and is no OCI image layout; choose an empty or a new directory`,
  );
}

/**
 * The same for a writer, who will make a layout where there is none: the directory that another process has just made for
 * one, before its lock is in it, is none yet.
 *
 * @throws {NixcacheError} ERR_INDEX, ERR_USAGE, ERR_IO
 */
export async function inspectAsWriter(files: LayoutFiles): Promise<LayoutState> {
  return (await placeForLayout(files)) === 'layout' ? inspectLayout(files) : 'absent';
}

/**
 * Creates the layout unless it is there. Any number of processes may do so at once; a killed one leaves nothing that
 * the next does not finish.
 *
 * @throws {NixcacheError} ERR_USAGE on a directory with other things in it; ERR_INDEX on a damaged layout
 */
export async function createLayout(files: LayoutFiles): Promise<void> {
  if ((await placeForLayout(files)) === 'layout') {
    await inspectLayout(files);
    return makeDirectories(files);
  }
  await makeRoot(files.root);
  await files.withLock(async () => {
    await makeDirectories(files);
    const present = (await list(files.root)) ?? [];
    if (present.includes('oci-layout')) return;
    if (!present.includes('index.json')) {
      await replaceFile(
        files,
        files.index,
        JSON.stringify({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [] }),
      );
    }
    await replaceFile(files, files.marker, JSON.stringify({ imageLayoutVersion: LAYOUT_VERSION }));
  });
}

/** Puts `text` at `path` in one step that also survives a power cut: temporary file, fsync, rename, fsync. */
export async function replaceFile(files: LayoutFiles, path: string, text: string): Promise<void> {
  const temporary = files.temporary('file');
  try {
    await files.makeIngest();
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (cause) {
    await discard(temporary);
    throw ownFileError('write', path, cause);
  }
}

/** 64 KiB: less than that is no room for a segment. */
const PROBE_BYTES = 64 * 1024;

/** Returns if there is room and permission to write. @throws {NixcacheError} ERR_IO */
export async function checkWritable(files: LayoutFiles): Promise<void> {
  const temporary = files.temporary('probe');
  try {
    await files.makeIngest();
    await writeFile(temporary, Buffer.alloc(PROBE_BYTES), { flag: 'wx' });
    // Where blobs and tags get their names.
    for (const directory of [files.blobs, files.root]) await access(directory, constants.W_OK);
  } catch (cause) {
    throw ioError('write to', files.root, cause);
  } finally {
    await discard(temporary);
  }
}

/**
 * Returns if a layout can be made where none is, as far as the nearest directory that is there tells: nothing is tried, for a
 * process that is killed meanwhile would leave it behind.
 *
 * @throws {NixcacheError} ERR_IO
 */
export async function checkCreatable(files: LayoutFiles): Promise<void> {
  let parent = files.root;
  while ((await list(parent)) === undefined && parent !== dirname(parent)) parent = dirname(parent);
  try {
    await access(parent, constants.W_OK | constants.X_OK);
    const { bavail, bsize, files: nodes, ffree } = await statfs(parent);
    // Some file systems count no nodes.
    if (bavail * bsize < PROBE_BYTES || (nodes > 0 && ffree === 0)) throw noSpace();
  } catch (cause) {
    throw ioError('create the cache directory', files.root, cause);
  }
}

/** As the file system would say it. */
const noSpace = (): Error => Object.assign(new Error('no space left'), { code: 'ENOSPC', syscall: 'statfs' });

/** Makes the names in `path` durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes a temporary file after an error. If that fails also, the first error is told and a sweep gets the file. */
export const discard = (temporary: string): Promise<void> => rm(temporary, { force: true }).catch(() => undefined);

async function makeRoot(root: string): Promise<void> {
  try {
    const first = await makeDirectory(root);
    if (first === undefined) return;
    // Every directory that got a new name in it, down to the root's parent.
    for (let made = root; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
  } catch (cause) {
    throw ioError('create the cache directory', root, cause);
  }
}

async function makeDirectories(files: LayoutFiles): Promise<void> {
  await files.assertOwn();
  try {
    const first = await makeDirectory(files.blobs);
    if (first !== undefined) await syncDirectory(dirname(files.blobs));
    await makeDirectory(files.ingest);
  } catch (cause) {
    throw ioError('create directories in', files.root, cause);
  }
}

const isUnfinished = (names: readonly string[]): boolean => names.every((name) => OWN_NAMES.has(name));

async function list(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path);
  } catch (cause) {
    if (!isAbsent(cause)) throw ioError('read', path, cause);
    await assertNoDanglingLink(path);
    return undefined;
  }
}

/**
 * A link that leads nowhere, at `path` or above it, is no directory that can be made: what it leads to is not mounted, mostly.
 *
 * @throws {NixcacheError} ERR_IO
 */
async function assertNoDanglingLink(path: string): Promise<void> {
  let nearest = path;
  let stats = await lstatOf(nearest);
  while (stats === undefined && nearest !== dirname(nearest)) {
    nearest = dirname(nearest);
    stats = await lstatOf(nearest);
  }
  if (!stats?.isSymbolicLink() || (await stat(nearest).catch(ifAbsent)) !== undefined) return;
  const target = await readlink(nearest).catch(() => '');
  throw new NixcacheError(
    'ERR_IO',
    `look at ${path}: ${nearest} is a link to ${target}, which is not there; is the file system mounted?`,
  );
}

const lstatOf = (path: string): Promise<Stats | undefined> => lstat(path).catch(ifAbsent);

function ifAbsent(cause: unknown): undefined {
  if (!isAbsent(cause)) throw cause;
}

function checkVersion(text: string, path: string): void {
  let version: unknown;
  try {
    const marker: unknown = JSON.parse(text);
    version =
      typeof marker === 'object' && marker !== null && 'imageLayoutVersion' in marker && marker.imageLayoutVersion;
  } catch (cause) {
    throw new NixcacheError(
      'ERR_INDEX',
      `read ${path}: ${messageOf(cause)}; restore it from a backup, or remove the damaged layout`,
      { cause },
    );
  }
  if (version === LAYOUT_VERSION) return;
  throw new NixcacheError(
    'ERR_INDEX',
    `read ${path}: image layout version ${JSON.stringify(version)} is not ${LAYOUT_VERSION}; use a newer nixcache, or another directory`,
  );
}
