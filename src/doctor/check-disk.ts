/** Room for the index, without which it is downloaded each time. */
import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ioReason } from '../io-error.ts';
import { formatBytes } from '../quantity.ts';
import { type Finding, ok, problem, warning } from './finding.ts';

const MIB = 1024 * 1024;
/** A million entries take some 600 MiB. */
const MIN_FREE_BYTES = 1024 * MIB;
const MIN_ANY_FREE_BYTES = 64 * MIB;

/** `directory` need not be there yet. */
export async function checkDisk(directory: string): Promise<Finding> {
  const fix = 'make room, or choose another place with XDG_CACHE_HOME';
  const there = await nearestExisting(directory);
  try {
    if (!(await stat(there)).isDirectory()) throw new Error(`${there} is no directory`);
    await access(there, constants.W_OK);
  } catch (error) {
    return problem('disk', `the index cannot be kept in ${directory}: ${ioReason(error)}`, fix);
  }
  const { bavail, bsize } = await statfs(there);
  const free = bavail * bsize;
  const message = `${formatBytes(free)} free for the index in ${directory}`;
  if (free < MIN_ANY_FREE_BYTES) return problem('disk', message, fix);
  return free < MIN_FREE_BYTES ? warning('disk', message, fix) : ok('disk', message);
}

async function nearestExisting(directory: string): Promise<string> {
  for (let at = directory; ; at = dirname(at)) {
    const isThere = await access(at).then(
      () => true,
      () => false,
    );
    if (isThere || dirname(at) === at) return at;
  }
}
