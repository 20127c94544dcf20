import { describe, expect, it } from 'vitest';
import type { ListedEntry } from '../../../../src/catalog/entry-list.ts';
import { formatEntries } from '../../../../src/cli/commands/list/text.ts';
import { toStorePath } from '../../../../src/nix/store-path.ts';
import { baseNameFor } from '../../../support/cache-builder.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;

describe('list', () => {
  it('shows a summary and the roots', async () => {
    const { stdout, exitCode } = await nixcache(['list']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^oci:.*\n {2}entries +4 paths, NARs .*\n/);
    expect(stdout).toMatch(
      /\nROOT +SYSTEM +PUBLISHED \(UTC\) +PATHS +CLOSURE +STORE PATH\nhello-1 .*\nhello-2 .*-hello-2$/,
    );
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

  it.each(['none*', 'n?ne'])('says when nothing is like %j', async (glob) => {
    const { exitCode, stderr } = await nixcache(['list', '--pins', glob]);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('has no pin') });
  });

  it('lists entries on a terminal as a table that fits', async () => {
    const entry = (name: string, day: number): ListedEntry => ({
      ...{
        path: toStorePath(baseNameFor(name), '/nix/store'),
        narBytes: 1024 * day,
        fileBytes: 700 + day,
        signedBy: [],
      },
      asserted: new Date(Date.UTC(2026, 10, day, 13, 37)),
    });
    const lines = (width: number): string[] =>
      formatEntries([entry('hello-1', 1), entry('hello-2', 2)], width).split('\n');
    expect(lines(120)[1]).toBe(`/nix/store/${baseNameFor('hello-1')}  1.0 KiB   701 B  2026-11-01 13:37`);
    expect(lines(72).slice(0, 2)).toEqual([
      expect.stringMatching(/^STORE PATH +NAR +STORED/),
      expect.stringMatching(/^.{8}…-hello-1 +1\.0 KiB +701 B/),
    ]);
    expect(lines(30).slice(0, 3)).toEqual([
      expect.stringMatching(/-hello-1$/),
      expect.stringMatching(/^ {2}nar +1\.0 KiB$/),
      expect.stringMatching(/^ {2}stored +701 B$/),
    ]);
  });

  it('says how to see which entries there are', async () => {
    const { exitCode, stderr } = await nixcache(['list', '--entries', 'none*']);
    expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/no entry .*; nixcache list --entries shows all/)]);
  });

  it('takes one of its three views at a time', async () => {
    expect(await nixcache(['list', '--roots', '--entries'])).toMatchObject({ exitCode: 2 });
  });
});

it('help has examples', async () => {
  const { stdout } = await nixcache(['list', '--help']);
  expect(stdout).toMatch(/\nExamples:\n {2}# .*\n {2}\$ .*nixcache list/);
});
