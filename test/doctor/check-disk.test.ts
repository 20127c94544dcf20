import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkDisk } from '../../src/doctor/check-disk.ts';
import { tempDir } from '../support/temp-dir.ts';

describe('the doctor, of the disk', () => {
  it('finds room for an index whose directory is not there yet', async () => {
    const directory = join(await tempDir(), 'a/b');
    const found = await checkDisk(directory);
    expect(found).toMatchObject({ check: 'disk', message: expect.stringContaining(directory) });
    expect(found.message).toMatch(/^[\d.]+ [KMGTP]iB free/);
  });

  it('sees that a file stands where the directory belongs', async () => {
    const file = join(await tempDir(), 'file');
    await writeFile(file, '');
    const verdict = (await checkDisk(join(file, 'index'))).verdict;
    expect(verdict).toBe('problem');
  });
});
