/**
 * Frees the blobs of a layout that no tag reaches, while others publish.
 *
 * Two things could go wrong, and why they do not:
 *
 * 1. A manifest that names the blob is pushed while we look. Blobs are therefore taken away under the layout's lock, under
 *    which manifests are pushed also, and if index.json has changed since, what it newly reaches is marked first.
 * 2. A publisher was told that the blob is there and pushes its manifest only later. Being told sets the blob's time to
 *    now (LayoutBlobs.touch), by the clock of the file system, and young blobs stay. The touch may fall between our look
 *    at the time and the unlink; so the name is taken away before the look that counts. A touch before that shows in the
 *    time, and the name is given back; a touch after it finds no file, and the publisher is told that the blob is absent.
 */

import { lstat, opendir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import { ioError, isAbsent } from '../../io-error.ts';
import type { SweepResult } from '../content-store.ts';
import { type Digest, isDigest } from '../digest.ts';
import type { LayoutBlobs } from './blobs.ts';
import type { LayoutEditor } from './editor.ts';
import { fileSystemNow, renew } from './file-time.ts';
import type { LayoutFiles } from './files.ts';
import type { LayoutIndexFile, LayoutTags } from './index.ts';
import { LayoutReach } from './reach.ts';

/** Blobs taken away under one hold of the lock: about 10 ms, then waiting publishers have their turn. */
const BATCH = 128;
/** Unfinished files are kept this long whatever the grace period: their writers still write to them. */
const MIN_UNFINISHED_SECONDS = 3600;
const SET_ASIDE = 'doomed-';

export interface SweptLayout {
  readonly files: LayoutFiles;
  readonly index: LayoutIndexFile;
  readonly blobs: LayoutBlobs;
  readonly editor: LayoutEditor;
}

export async function sweepLayout(
  layout: SweptLayout,
  options: CallOptions & { readonly graceSeconds: number; readonly dryRun?: boolean },
): Promise<SweepResult> {
  const { files, index, blobs } = layout;
  const reach = new LayoutReach(blobs);
  const tags = await index.read();
  if (!tags) return { blobs: 0, bytes: 0 };
  await files.assertOwn();
  const nowMs = options.dryRun ? await nowWhereNothingIsDeleted(files) : await fileSystemNow(files);
  const before = nowMs - options.graceSeconds * 1000;
  if (!options.dryRun) await giveBackSetAside(layout, options);
  await addAll(reach, tags, layout, options);

  const total = { blobs: 0, bytes: 0 };
  const count = (sizes: readonly number[]): void => {
    total.blobs += sizes.length;
    for (const size of sizes) total.bytes += size;
  };
  let batch: Digest[] = [];
  for await (const digest of unreached(files, reach, before, options)) {
    batch.push(digest);
    if (batch.length < BATCH) continue;
    count(await sweepBatch(layout, reach, batch, before, options));
    batch = [];
  }
  count(await sweepBatch(layout, reach, batch, before, options));

  const unfinishedBefore = Math.min(before, nowMs - MIN_UNFINISHED_SECONDS * 1000);
  total.bytes += await sweepUnfinished(files, unfinishedBefore, options);
  return total;
}

/** A dry run may look at a layout into which this user may not write. */
const nowWhereNothingIsDeleted = (files: LayoutFiles): Promise<number> => fileSystemNow(files).catch(() => Date.now());

/** Adds all below `tags`. What cannot be read because somebody has deleted it since is no fault: the tags are read again. */
async function addAll(
  reach: LayoutReach,
  tags: LayoutTags,
  { index }: Pick<SweptLayout, 'index'>,
  options: CallOptions,
): Promise<void> {
  try {
    await reach.add(tags, options);
  } catch (error) {
    const since = isNixcacheError(error, 'ERR_INDEX') ? await index.read() : undefined;
    if (since === undefined || since === tags) throw error;
    await addAll(reach, since, { index }, options);
  }
}

/** Sizes of what was freed, or would be. */
async function sweepBatch(
  layout: SweptLayout,
  reach: LayoutReach,
  batch: readonly Digest[],
  before: number,
  options: CallOptions & { readonly dryRun?: boolean },
): Promise<readonly number[]> {
  if (batch.length === 0) return [];
  const { files, blobs, editor } = layout;
  if (options.dryRun)
    return (await Promise.all(batch.map((digest) => blobs.sizeOf(digest)))).filter((size) => size !== undefined);
  return editor.edit(async (tags: LayoutTags) => {
    await reach.add(tags, options);
    await files.assertOwn();
    const sizes: number[] = [];
    for (const digest of batch) {
      if (options.signal?.aborted) throw abortReason(options.signal);
      const size = reach.includes(digest) ? undefined : await takeAway(files, digest, before);
      if (size !== undefined) sizes.push(size);
    }
    return { tags, result: sizes };
  }, options);
}

/** The size of the blob that is gone now; undefined if it is young after all, or was gone before. */
async function takeAway(files: LayoutFiles, digest: Digest, before: number): Promise<number | undefined> {
  const path = files.blob(digest);
  const aside = join(files.ingest, `${SET_ASIDE}${basename(path)}`);
  try {
    await rename(path, aside);
    const { mtimeMs, size } = await lstat(aside);
    if (mtimeMs >= before) {
      await rename(aside, path);
      return undefined;
    }
    await rm(aside);
    return size;
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    throw ioError('delete', path, cause);
  }
}

/** A sweep that was killed may have left blobs without their names. */
async function giveBackSetAside(layout: SweptLayout, options: CallOptions): Promise<void> {
  const { files, editor } = layout;
  await editor.edit(async (tags) => {
    for await (const { name, path, isFile } of entriesOf(files.ingest)) {
      const digest = `sha256:${name.slice(SET_ASIDE.length)}`;
      if (!isFile || !name.startsWith(SET_ASIDE) || !isDigest(digest)) continue;
      try {
        // As new, for it may replace a copy that somebody has pushed since.
        await renew(path);
        await rename(path, files.blob(digest));
      } catch (cause) {
        throw ioError('give back', path, cause);
      }
    }
    return { tags, result: undefined };
  }, options);
}

async function* unreached(
  files: LayoutFiles,
  reach: LayoutReach,
  before: number,
  { signal }: CallOptions,
): AsyncGenerator<Digest> {
  for await (const { name, path, isDirectory } of entriesOf(files.blobs)) {
    if (signal?.aborted) throw abortReason(signal);
    const digest = `sha256:${name}`;
    if (isDirectory || !isDigest(digest) || reach.includes(digest)) continue;
    if (((await timeOf(path)) ?? before) < before) yield digest;
  }
}

async function sweepUnfinished(
  files: LayoutFiles,
  before: number,
  { signal, dryRun }: CallOptions & { readonly dryRun?: boolean },
): Promise<number> {
  let bytes = 0;
  for await (const { path } of unfinishedIn(files.ingest)) {
    if (signal?.aborted) throw abortReason(signal);
    try {
      const stats = await lstat(path);
      if (stats.mtimeMs >= before) continue;
      if (!stats.isDirectory()) {
        if (!dryRun) await rm(path, { force: true });
        bytes += stats.size;
      } else if (!dryRun) {
        await rmdir(path); // removing a file makes it new: it goes with the next sweep
      }
    } catch (cause) {
      // Its writer has just finished or dropped it, or is at work in it.
      if (!isAbsent(cause) && !isNotEmpty(cause)) throw ioError('delete', path, cause);
    }
  }
  return bytes;
}

const isNotEmpty = (cause: unknown): boolean =>
  cause instanceof Error && 'code' in cause && (cause.code === 'ENOTEMPTY' || cause.code === 'EEXIST');

/** Files under way, and each writer's directory of them behind its files. No link is followed. */
async function* unfinishedIn(directory: string): AsyncGenerator<{ readonly path: string }> {
  for await (const { path, isDirectory } of entriesOf(directory)) {
    if (isDirectory) yield* entriesOf(path);
    yield { path };
  }
}

interface DirectoryEntry {
  readonly name: string;
  readonly path: string;
  readonly isDirectory: boolean;
  readonly isFile: boolean;
}

async function* entriesOf(directory: string): AsyncGenerator<DirectoryEntry> {
  try {
    for await (const entry of await opendir(directory)) {
      yield {
        name: entry.name,
        path: join(directory, entry.name),
        isDirectory: entry.isDirectory(),
        isFile: entry.isFile(),
      };
    }
  } catch (cause) {
    if (!isAbsent(cause)) throw ioError('read', directory, cause);
  }
}

async function timeOf(path: string): Promise<number | undefined> {
  try {
    return (await lstat(path)).mtimeMs;
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    throw ioError('look at', path, cause);
  }
}
