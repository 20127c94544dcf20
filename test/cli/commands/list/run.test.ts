import { describe, expect, it } from 'vitest';
import { baseNameFor } from '../../../support/cache-builder.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;

describe('list', () => {
  it('shows a summary and the roots', async () => {
    const { stdout, exitCode } = await nixcache(['list']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^oci:.*\n {2}entries +4 paths, NARs .*\n/);
    expect(stdout).toMatch(/\nROOT +SYSTEM +PUBLISHED +PATHS +CLOSURE +STORE PATH\nhello-1 .*\nhello-2 .*-hello-2$/);
  });

  it('prints one document as JSON, and entries one a line', async () => {
    const { stdout } = await nixcache(['list', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ cache: cache.reference, entries: 4, storeDir: '/nix/store', unsigned: 4, signedBy: [], segments: 2 },
      roots: [{ name: 'hello-1' }, { name: 'hello-2', records: 1, closure: { paths: 2, missing: 0 } }],
    });
    const lines = (await nixcache(['list', '--entries', 'hello*', '--json'])).stdout.split('\n');
    expect(lines.map((line) => JSON.parse(line).path.slice(44))).toEqual(['hello-1', 'hello-2', 'hello-2-doc']);
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      path: `/nix/store/${baseNameFor('hello-1')}`,
      ...{ narBytes: expect.any(Number), fileBytes: expect.any(Number), asserted: expect.any(String), signedBy: [] },
    });
  });

  it.each(['none*', ''])('says when nothing is like %j', async (glob) => {
    const { exitCode, stderr } = await nixcache(['list', '--pins', glob]);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('has no pin') });
  });

  it('takes one of its three views at a time', async () => {
    expect(await nixcache(['list', '--roots', '--entries'])).toMatchObject({ exitCode: 2 });
  });
});

it('help has examples', async () => {
  const { stdout } = await nixcache(['list', '--help']);
  expect(stdout).toMatch(/\nExamples:\n {2}# .*\n {2}\$ .*nixcache list/);
});
