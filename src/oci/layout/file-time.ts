/**
 * Times of files, by the clock of the file system that they lie on.
 *
 * On shared disks each machine has a clock of its own, and they may be days apart. What the file system itself writes down,
 * when a file is written or changed, is of one clock, so a sweep compares times with that and with none of a machine.
 */
import { lstat, lutimes, writeFile } from 'node:fs/promises';
import { ioCodeOf, ownFileError } from '../../io-error.ts';
import { discard, type LayoutFiles } from './files.ts';

/** No file system's time is coarser; clocks that differ by less count as one. */
const TOLERATED_MS = 2000;

/**
 * Gives a file the present time. Our clock may be behind, and a time by it would let the file look old: setting it has the
 * file system note when that was (ctime), by its own clock. A clock that is ahead keeps the file for longer.
 *
 * @throws what the file system says
 */
export async function renew(path: string): Promise<void> {
  const now = new Date();
  await lutimes(path, now, now);
  const { ctime } = await lstat(path);
  if (ctime.getTime() > now.getTime() + TOLERATED_MS) await lutimes(path, ctime, ctime);
}

/**
 * What time it is for the file system, in ms: that of a file just made, or ours, which is finer, where the two agree.
 *
 * @throws {NixcacheError} ERR_IO
 */
export async function fileSystemNow(files: LayoutFiles): Promise<number> {
  const [theirs, ours] = [await timeOfNewFile(files), Date.now()];
  return Math.abs(theirs - ours) > TOLERATED_MS ? theirs : ours;
}

async function timeOfNewFile(files: LayoutFiles): Promise<number> {
  const probe = files.temporary('clock');
  try {
    await files.makeIngest();
    await writeFile(probe, '', { flag: 'wx' });
    return (await lstat(probe)).ctimeMs;
  } catch (cause) {
    if (['ENOSPC', 'EDQUOT'].includes(ioCodeOf(cause) ?? '')) return timeOfDirectory(files.ingest);
    throw ownFileError('look for the time of the file system at', files.ingest, cause);
  } finally {
    await discard(probe);
  }
}

/** For a full disk, where a sweep has to help: nothing is made for it. */
async function timeOfDirectory(path: string): Promise<number> {
  try {
    await renew(path);
    return (await lstat(path)).ctimeMs;
  } catch (cause) {
    throw ownFileError('look for the time of the file system at', path, cause);
  }
}
