import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes in the regular files under `dir`, hard links counted once. */
export async function directorySize(dir: string): Promise<number> {
  const seen = new Set<number>();
  let bytes = 0;
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const { ino, size } = await lstat(join(entry.parentPath, entry.name));
    if (!seen.has(ino)) bytes += size;
    seen.add(ino);
  }
  return bytes;
}
