/**
 * Takes our secrets out of the environment block that this process was started with.
 *
 * On Linux everyone of our user reads it in /proc/PID/environ as long as the process lives, also a build that Nix runs
 * without a sandbox, and `delete process.env` changes nothing there. So the block is overwritten where it lies. No secret is
 * written to a file for that, which would stay behind whenever the process is killed.
 */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { holdsSecret, OWN_SECRETS } from '../child-environment.ts';

/**
 * Overwrites all secrets in the block of this process, with their names, and takes those that are ours alone out of
 * `process.env`. What has copied that before keeps them.
 *
 * @throws {Error} where there are any and the system has no /proc, or keeps a process from its own memory
 */
export function eraseSecrets(): void {
  const held = Object.entries(process.env).filter(([name, value = '']) => holdsSecret(name, value));
  if (held.length === 0) return;
  for (const [name] of held) delete process.env[name]; // first: it reads the memory that is overwritten
  try {
    eraseFromBlock();
  } finally {
    // What is set now lies elsewhere.
    for (const [name, value] of held) if (!OWN_SECRETS.includes(name)) process.env[name] = value;
  }
}

function eraseFromBlock(): void {
  const { start, size } = findBlock();
  const block = Buffer.alloc(size);
  const memory = openSync('/proc/self/mem', 'r+');
  try {
    if (readSync(memory, block, 0, size, start) < size) throw new Error('the environment cannot be read as a whole');
    for (const { at, length } of secretsIn(block)) {
      const written = writeSync(memory, Buffer.alloc(length), 0, length, start + at);
      if (written < length) throw new Error('the environment cannot be overwritten');
    }
  } finally {
    closeSync(memory);
  }
  if (secretsIn(readFileSync('/proc/self/environ')).length > 0) throw new Error('the system keeps a copy of it');
}

/** Where `block`, of `NAME=VALUE` each with a NUL behind it, holds our secrets. */
export function secretsIn(block: Buffer): { readonly at: number; readonly length: number }[] {
  const found: { readonly at: number; readonly length: number }[] = [];
  for (let at = 0, end = 0; at < block.length; at = end + 1) {
    end = block.indexOf(0, at);
    if (end < 0) end = block.length;
    const equals = block.indexOf('=', at);
    if (equals < 0 || equals >= end) continue;
    const [name, value] = [block.toString('latin1', at, equals), block.toString('latin1', equals + 1, end)];
    if (holdsSecret(name, value)) found.push({ at, length: end - at });
  }
  return found;
}

/** Where it lies in memory: the fields 50 and 51 of /proc/self/stat (proc_pid_stat(5)), the second of which is in brackets. */
function findBlock(): { readonly start: number; readonly size: number } {
  const stat = readFileSync('/proc/self/stat', 'latin1');
  const fromThird = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [start = 0, end = 0] = fromThird.slice(50 - 3, 51 - 3 + 1).map(Number);
  if (!(start > 0 && end >= start)) throw new Error('/proc/self/stat does not say where the environment is');
  return { start, size: end - start };
}
