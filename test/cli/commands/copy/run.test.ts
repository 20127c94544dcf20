import { readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { baseNameFor } from '../../../support/cache-builder.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;
const pathOf = (name: string): string => `/nix/store/${baseNameFor(name)}`;

/** The paths that a copy to `name` leaves there, and its roots. */
async function copied(name: string, ...args: readonly string[]) {
  const to = `oci:${join(cache.home, name)}`;
  const { exitCode, stderr, stdout } = await nixcache(['copy', cache.reference, to, ...args, '--json']);
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  const entries = await nixcache(['list', '--entries', '--json', '--from', to]);
  const { roots } = JSON.parse((await nixcache(['list', '--json', '--from', to])).stdout);
  return {
    report: JSON.parse(stdout),
    stderr,
    paths: entries.stdout.split('\n').map((line) => JSON.parse(line).path.slice(44)),
    roots: roots.map(({ name: root }: { name: string }) => root),
  };
}

describe('copy', () => {
  it('takes everything, and says how much', async () => {
    const { report, stderr, paths, roots } = await copied('all');
    expect(report).toMatchObject({ copied: { paths: 4 }, existed: { paths: 0 }, refused: [], dryRun: false });
    expect(paths).toEqual(['hello-1', 'hello-2', 'hello-2-doc', 'libc']);
    expect(roots).toEqual(['hello-1', 'hello-2']);
    expect(stderr).toMatch(/to copy: 4 paths, .*\n.*copied 4 paths to oci:/s);
  });

  it('takes a named root with its closure, its record alone, and paths beside it', async () => {
    const { paths, roots } = await copied('named', '--root', 'hello-1', pathOf('hello-2-doc'));
    expect(paths).toEqual(['hello-1', 'hello-2-doc', 'libc']);
    expect(roots.sort()).toEqual(['hello-1', 'hello-2-doc']);
  });

  it('takes globs over names', async () => {
    expect((await copied('globs', '--root', 'hello-*')).paths).toEqual(['hello-1', 'hello-2', 'libc']);
  });

  it('takes what a link leads to, and a file in a store path', async () => {
    await symlink(pathOf('hello-1'), join(cache.home, 'result'));
    expect((await copied('link', './result')).paths).toEqual(['hello-1', 'libc']);
    expect((await copied('inside', `${pathOf('hello-2')}/bin/hello`)).paths).toEqual(['hello-2', 'libc']);
  });

  it.each<[string, number, string[], string]>([
    ['a name that nothing has', 1, ['--root', 'hello-1', '--root', 'helo'], "no root or pin called 'helo':"],
    ['a path that is not there', 1, [pathOf('absent')], `does not have ${pathOf('absent')}`],
    ['what is no store path', 2, ['/etc/passwd'], 'copy /etc/passwd: it is no store path'],
  ])('puts nothing there for %s', async (_, exitCode, args, message) => {
    const destination = join(cache.home, 'never');
    const result = await nixcache(['copy', cache.reference, `oci:${destination}`, ...args]);
    expect(result).toMatchObject({ exitCode, stderr: expect.stringContaining(message) });
    expect(await readdir(join(destination, 'blobs', 'sha256')).catch(() => [])).toEqual([]);
  });

  it('counts in a dry run', async () => {
    const { stdout, stderr } = await nixcache(['copy', cache.reference, `oci:${join(cache.home, 'dry')}`, '--dry-run']);
    expect(stdout).toMatch(/would be copied +4 .*\nat the destination +0/);
    expect(stderr).toContain('dry run: nothing was copied');
  });
});
