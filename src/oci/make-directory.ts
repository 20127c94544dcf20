import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ioCodeOf } from '../io-error.ts';

/**
 * Makes `path` and the directories above it; the first that was made, or undefined if all were there.
 *
 * Node's own `recursive` never returns where mkdir says ENOENT below a directory that exists, as in /proc.
 */
export async function makeDirectory(
  path: string,
  options: { readonly mode?: number } = {},
): Promise<string | undefined> {
  try {
    await mkdir(path, options);
    return path;
  } catch (error) {
    const code = ioCodeOf(error);
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return undefined;
    const parent = dirname(path);
    if (code !== 'ENOENT' || parent === path) throw error;
    const first = await makeDirectory(parent, options);
    await mkdir(path, options).catch((second: unknown) => {
      if (ioCodeOf(second) !== 'EEXIST') throw second; // another process was faster
    });
    return first ?? path;
  }
}
