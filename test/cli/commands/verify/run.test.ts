import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;

describe('verify', () => {
  it('exits with 0 where there is nothing but warnings', async () => {
    const { exitCode, stdout } = await nixcache(['verify', '--contents', '--no-upstream', '--json']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout).findings.map(({ kind }: { kind: string }) => kind)).toEqual(['unsigned-cache']);
  });

  it('says what is of use only with --repair', async () => {
    const { exitCode, stderr } = await nixcache(['verify', '--dry-run']);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('only with --repair') });
  });

  it('exits with 4 where a blob is gone, and says what helps', async () => {
    const copy = `oci:${join(cache.home, 'damaged')}`;
    await nixcache(['copy', cache.reference, copy]);
    const blobs = join(cache.home, 'damaged', 'blobs', 'sha256');
    const sizes = await Promise.all(
      (await readdir(blobs)).map(async (name) => ({ name, size: (await stat(join(blobs, name))).size })),
    );
    for (const { name } of sizes.sort((x, y) => y.size - x.size).slice(0, 1)) await rm(join(blobs, name));
    const { exitCode, stdout, stderr } = await nixcache(['verify', '--no-upstream', '--from', copy]);
    expect(exitCode).toBe(4);
    expect(stdout).toMatch(/^damage: /);
    expect(stderr + stdout).toContain('--repair');
  });
});
