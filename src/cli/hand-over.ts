/**
 * Takes our secrets out of the environment block that the process was started with.
 *
 * On Linux everyone of our user reads it in /proc/PID/environ as long as the process lives, also a build that Nix runs
 * without a sandbox, and `delete process.env` changes nothing there. So the launcher has the process start anew without
 * them, and hands them over in a file that nobody else can open and that is gone before anything else is done. A launcher
 * whose Node cannot start anew in the same process starts a child so, and overwrites them in its own block.
 */
import {
  accessSync,
  closeSync,
  constants,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { OWN_SECRETS } from '../child-environment.ts';
import type { Environment } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { ioReason } from '../io-error.ts';

/** Names the file. Between the launcher and us, and in no documentation. */
const FILE_VARIABLE = 'NIXCACHE_HANDED_OVER';
/** In memory rather than on a disk, where there is such a place. */
const SHARED_MEMORY = '/dev/shm';
const OUR_FILE = /\/nixcache-[^/]+\/environment$/;

/**
 * The environment to start anew with, and the secrets of `env` in a file that it names; undefined where `env` holds none.
 *
 * @throws {Error} when there is nowhere to write the file
 */
export function handOver(env: Environment): Environment | undefined {
  const held = OWN_SECRETS.filter((name) => (env[name] ?? '') !== '');
  if (held.length === 0) return undefined;
  const parent = [env['XDG_RUNTIME_DIR'], SHARED_MEMORY].find(isWritable) ?? tmpdir();
  const file = join(mkdtempSync(join(parent, 'nixcache-')), 'environment'); // the directory has mode 0700
  writeFileSync(file, JSON.stringify(Object.fromEntries(held.map((name) => [name, env[name]]))), { mode: 0o600 });
  const kept = Object.entries(env).filter(([name]) => !held.includes(name));
  return { ...Object.fromEntries(kept), [FILE_VARIABLE]: file };
}

/** sudo and containers keep an XDG_RUNTIME_DIR that is another user's, or not there. */
function isWritable(directory: string | undefined): boolean {
  if (!directory) return false;
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Overwrites our secrets in the environment block of this process. What has read `process.env` before keeps them.
 *
 * @throws {Error} where the system has no /proc, or keeps a process from its own memory
 */
export function eraseSecrets(): void {
  const { start, size } = environmentBlock();
  const block = Buffer.alloc(size);
  const memory = openSync('/proc/self/mem', 'r+');
  try {
    if (readSync(memory, block, 0, size, start) < size) throw new Error('the environment cannot be read as a whole');
    for (let at = 0, end = 0; at < size; at = end + 1) {
      end = block.indexOf(0, at);
      if (end < 0) end = size;
      const equals = block.indexOf('=', at);
      const isSecret = equals >= 0 && equals < end && OWN_SECRETS.includes(block.toString('latin1', at, equals));
      if (isSecret) block.fill(0, equals + 1, end);
    }
    if (writeSync(memory, block, 0, size, start) < size) throw new Error('the environment cannot be overwritten');
  } finally {
    closeSync(memory);
  }
}

/** Where it lies in memory: the fields 50 and 51 of /proc/self/stat (proc_pid_stat(5)), the second of which is in brackets. */
function environmentBlock(): { readonly start: number; readonly size: number } {
  const stat = readFileSync('/proc/self/stat', 'latin1');
  const fromThird = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [start = 0, end = 0] = fromThird.slice(50 - 3, 51 - 3 + 1).map(Number);
  if (!(start > 0 && end >= start)) throw new Error('/proc/self/stat does not say where the environment is');
  return { start, size: end - start };
}

/** `env` with what was handed over; the file is gone then. @throws {NixcacheError} ERR_USAGE for a file that is not ours */
export function takeOver(env: Environment): Environment {
  const { [FILE_VARIABLE]: file, ...own } = env;
  if (file === undefined) return own;
  try {
    if (!OUR_FILE.test(file) || (lstatSync(file).mode & 0o077) !== 0) throw new Error('it is no file of ours');
    const handed = JSON.parse(readFileSync(file, 'utf8')) as Environment;
    unlinkSync(file);
    rmdirSync(dirname(file));
    return { ...own, ...handed };
  } catch (cause) {
    throw new NixcacheError('ERR_USAGE', `unset ${FILE_VARIABLE}, which nixcache sets for itself: ${ioReason(cause)}`, {
      cause,
    });
  }
}
