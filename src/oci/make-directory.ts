import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ioCodeOf } from './io-error.ts';

/**
 * Makes `path` and the directories above it; the first that was made, or undefined if all were there.
 *
 * Node's own `recursive` never returns where mkdir says ENOENT below a directory that exists, as in /proc.
 */
export async function makeDirectory(path: string): Promise<string | undefined> {
  try {
    await mkdir(path);
    return path;
  } catch (error) {
    const code = ioCodeOf(error);
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return undefined;
    const parent = dirname(path);
    if (code !== 'ENOENT' || parent === path) throw error;
    const first = await makeDirectory(parent);
    await mkdir(path).catch((second: unknown) => {
      if (ioCodeOf(second) !== 'EEXIST') throw second; // another process was faster
    });
    return first ?? path;
  }
}
