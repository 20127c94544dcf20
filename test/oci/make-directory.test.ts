import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeDirectory } from '../../src/oci/make-directory.ts';
import { tempDir } from '../support/temp-dir.ts';

it('makes what is missing and names the first', async () => {
  const root = await tempDir();
  expect(await makeDirectory(join(root, 'a/b/c'))).toBe(join(root, 'a'));
  expect((await stat(join(root, 'a/b/c'))).isDirectory()).toBe(true);
  expect(await makeDirectory(join(root, 'a/b/c'))).toBeUndefined();
});

it('does not mind that others make the same', async () => {
  const path = join(await tempDir(), 'x/y/z');
  await Promise.all(Array.from({ length: 16 }, () => makeDirectory(path)));
  expect((await stat(path)).isDirectory()).toBe(true);
});

it('fails where nothing can be made, and comes back at all', async () => {
  await expect(makeDirectory('/proc/nixcache/cache')).rejects.toMatchObject({ code: 'ENOENT' });
  const file = join(await tempDir(), 'file');
  await writeFile(file, '');
  await expect(makeDirectory(join(file, 'below'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  await expect(makeDirectory(file)).rejects.toMatchObject({ code: 'EEXIST' });
});
