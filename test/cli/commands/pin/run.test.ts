import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { baseNameFor } from '../../../support/cache-builder.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;

describe('pin', () => {
  it('pins what a link leads to, moves the pin, shows its history and removes it', async () => {
    await symlink(`/nix/store/${baseNameFor('hello-1')}`, join(cache.home, 'result'));
    expect(await nixcache(['pin', 'v1', './result'])).toMatchObject({ exitCode: 0, stdout: '' });
    expect((await nixcache(['pin', 'v1', 'hello-2', '--json'])).stdout).toContain(
      `"before":"/nix/store/${baseNameFor('hello-1')}"`,
    );
    expect((await nixcache(['pin', '--list'])).stdout).toMatch(/^PIN +SINCE \(UTC\) +STORE PATH\nv1 .*-hello-2$/);
    expect((await nixcache(['pin', '--history', 'v1'])).stdout.split('\n')).toHaveLength(3);
    expect((await nixcache(['info', 'v1'])).stdout).toMatch(/^v1\n {2}\S+-hello-2\n {4}2 paths/);
    expect(await nixcache(['pin', '--remove', 'v1'])).toMatchObject({ exitCode: 0 });
    expect((await nixcache(['pin', '--list', '--json'])).stdout).toBe(
      JSON.stringify({ cache: cache.reference, pins: [] }),
    );
    expect(await nixcache(['pin', '--remove', 'v1'])).toMatchObject({ exitCode: 1 });
  });

  it('goes by the time of the cache where the clock of this machine is days behind, and says so', async () => {
    const behind = `const R = Date; globalThis.Date = class extends R {
      constructor(...a) { a.length ? super(...a) : super(Date.now()); }
      static now() { return R.now() - 9 * 864e5; } };`;
    const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(behind)}` };
    const { exitCode, stderr } = await nixcache(['pin', 'late', 'hello-2'], env);
    expect([exitCode, stderr.match(/the clock of this machine says/g)?.length]).toEqual([0, 1]);
    const { pins } = JSON.parse((await nixcache(['pin', '--list', '--json'])).stdout);
    const since = pins.find(({ name }: { name: string }) => name === 'late').pinned;
    expect(Math.abs(Date.parse(since) - Date.now())).toBeLessThan(864e5);
  });

  it('says how to get into the cache what is not there', async () => {
    const path = `/nix/store/${baseNameFor('other')}`;
    const { exitCode, stderr } = await nixcache(['pin', 'v2', path]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`nixcache push ${path}`);
  });

  it.each([
    [['pin'], 'give a name and a store path'],
    [['pin', '--list', 'v1'], 'one argument too many'],
    [['pin', '/nix', 'hello-1'], 'cannot name a pin'],
    [['pin', '--list', '--remove', 'x'], 'cannot be used with'],
  ])('refuses %j', async (args, message) => {
    const { exitCode, stderr } = await nixcache(args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });
});

it('help has examples', async () => {
  const { stdout } = await nixcache(['pin', '--help']);
  expect(stdout).toMatch(/\nExamples:\n {2}# .*\n {2}\$ .*nixcache pin/);
});
