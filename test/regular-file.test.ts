import { open, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readIfAny, readRegular, readRegularSync } from '../src/regular-file.ts';
import { ODD_KINDS, placeOddFile } from './support/odd-files.ts';
import { tempDir } from './support/temp-dir.ts';

const OPTIONS = { links: 'refused', maxBytes: 100 } as const;

it.each(ODD_KINDS)('a %s is not read, whether links are followed or not', async (kind) => {
  const path = join(await tempDir(), 'file');
  await placeOddFile(path, kind);
  for (const links of ['refused', 'followed'] as const) {
    if (links === 'followed' && kind === 'dangling link') continue;
    const error = { code: 'ERR_IO', message: expect.stringContaining(path) };
    await expect(readRegular(path, { ...OPTIONS, links })).rejects.toMatchObject(error);
    expect(() => readRegularSync(path, { ...OPTIONS, links })).toThrow(expect.objectContaining(error));
  }
});

it('reads a file up to its limit, also through a link where that is followed', async () => {
  const directory = await tempDir();
  const [file, link] = [join(directory, 'file'), join(directory, 'link')];
  await writeFile(file, 'x'.repeat(100));
  await symlink(file, link);
  expect(await readRegular(file, OPTIONS)).toHaveLength(100);
  expect(readRegularSync(file, OPTIONS)).toHaveLength(100);
  expect(await readRegular(link, { ...OPTIONS, links: 'followed' })).toHaveLength(100);
  await writeFile(file, 'x'.repeat(101));
  await expect(readRegular(file, OPTIONS)).rejects.toThrow(`${file} is longer than 100 bytes`);
  expect(() => readRegularSync(file, OPTIONS)).toThrow(`${file} is longer than 100 bytes`);
});

it('reads files that say that they are empty and are not, and holds them to the limit too', async () => {
  const text = await readRegular('/proc/self/status', { links: 'refused', maxBytes: 1024 * 1024 });
  expect(text.toString()).toContain('Pid:');
  await expect(readRegular('/proc/self/status', { links: 'refused', maxBytes: 10 })).rejects.toThrow('longer than 10');
});

it('gives nothing of what one can do without where there is nothing to be read to its end', async () => {
  const path = join(await tempDir(), 'file');
  for (const kind of ODD_KINDS) {
    await placeOddFile(path, kind);
    expect([kind, await readIfAny(path)]).toEqual([kind, undefined]);
  }
  const huge = join(await tempDir(), 'huge');
  await using handle = await open(huge, 'w');
  await handle.truncate(5 * 1024 ** 3);
  expect(await readIfAny(huge)).toBeUndefined();
  expect(await readIfAny('/etc/group')).toContain('root');
});

it('leaves it to the caller what absence means', async () => {
  await expect(readRegular('/nonexistent/file', OPTIONS)).rejects.toMatchObject({ code: 'ENOENT' });
});
