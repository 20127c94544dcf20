import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskSpool } from '../../../src/cache/disk/spool.ts';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { tempDir } from '../../support/temp-dir.ts';

describe('a spool in TMPDIR', () => {
  const before = process.env['TMPDIR'];
  let directory: string;
  beforeEach(async () => {
    directory = await tempDir();
    process.env['TMPDIR'] = directory;
  });
  afterEach(() => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
  });

  it('is gone with all that is in it when it is closed', async () => {
    {
      await using spool = new DiskSpool(new MemoryStore());
      expect(dirname(await spool.directory())).toBe(directory);
      await writeFile(join(await spool.directory(), 'nar'), 'bytes');
    }
    expect(await readdir(directory)).toEqual([]);
  });

  it('removes those that killed runs left a day ago, and nothing else', async () => {
    for (const name of ['nixcache-spool-old', 'nixcache-spool-young', 'nixcache-else', 'other']) {
      await mkdir(join(directory, name));
      await writeFile(join(directory, name, 'nar'), 'bytes');
      const hours = name.endsWith('young') ? 23 : 25;
      const time = new Date(Date.now() - hours * 3600 * 1000);
      await utimes(join(directory, name), time, time);
    }
    await using spool = new DiskSpool(new MemoryStore());
    const own = await spool.directory();
    const names = (await readdir(directory)).filter((name) => join(directory, name) !== own);
    expect(names.sort()).toEqual(['nixcache-else', 'nixcache-spool-young', 'other']);
  });

  it('that cannot be made is an error that names the place', async () => {
    process.env['TMPDIR'] = join(directory, 'not-there');
    await using spool = new DiskSpool(new MemoryStore());
    await expect(spool.directory()).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('not-there'),
    });
  });
});

it('the spool of a layout lies on its disk, and nothing of it stays', async () => {
  const path = join(await tempDir(), 'cache');
  {
    await using spool = new DiskSpool(await LayoutStore.open(path, { create: true }));
    expect(dirname(await spool.directory())).toBe(join(path, '.ingest'));
    // What a thread that was ended in the middle of it leaves.
    await writeFile(join(await spool.directory(), 'half'), 'bytes');
  }
  expect(await readdir(join(path, '.ingest'))).toEqual([]);
});
