/** What fails before it has written anything leaves no cache behind, neither where it wrote nor where it read. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { nixcache, startNixcache } from '../support/e2e-cli.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

let nix: NixEnv;
let flake: string;
beforeAll(async () => {
  nix = await createNixEnv();
  flake = join(nix.dir, 'flake');
  await mkdir(flake);
  await writeFile(
    join(flake, 'flake.nix'),
    `{ outputs = { self }: { packages.x86_64-linux = let d = script: derivation {
      name = "a"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
    }; in { good = d "echo a > $out"; bad = d "exit 1"; long = d "echo it has begun; /usr/bin/sleep 60"; }; }; }`,
  );
});
afterAll(() => nix.cleanup());

it.each([
  ['copy of what is not there', ['copy', 'oci:typo', 'oci:dest'], 1],
  ['copy of a binary cache that is not there', ['copy', 'file:///nope', 'oci:dest'], 1],
  ['copy of what is not there to itself', ['copy', 'oci:nope', 'oci:nope'], 1],
  ['copy of a root that is not there', ['copy', 'oci:real', 'oci:dest', '--root', 'nope'], 1],
  ['publish of no flake', ['publish', '/nowhere', '--to', 'oci:dest'], 2],
  ['publish whose builds all fail', ['publish', './flake', '--only', '**.bad', '--to', 'oci:dest', '--no-upstream'], 1],
  ['pin in what is not there', ['pin', 'a', 'b', '--cache', 'oci:dest'], 1],
  ['gc of what is not there', ['gc', '--cache', 'oci:dest'], 1],
  ['push of what is not there', ['push', `/nix/store/${'0'.repeat(32)}-a`, '--to', 'oci:dest', '--no-upstream'], 1],
])('%s', async (_, args, exitCode) => {
  const real = await nixcache(['publish', flake, '--only', '**.good', '--to', 'oci:real', '--no-upstream'], {
    env: nix.env,
    cwd: nix.dir,
  });
  expect(real.exitCode, real.stderr).toBe(0);
  const before = (await readdir(nix.dir)).sort();
  const failed = await nixcache(args, { env: nix.env, cwd: nix.dir });
  expect({ exitCode: failed.exitCode, stderr: failed.stderr }).toMatchObject({ exitCode });
  expect((await readdir(nix.dir)).sort()).toEqual(before);
  expect(before).not.toContain('dest');
});

it('a publish that is interrupted while it builds', async () => {
  const args = ['publish', flake, '--only', '**.long', '--to', 'oci:dest', '--no-upstream', '--verbose'];
  await using running = startNixcache(args, { env: nix.env, cwd: nix.dir });
  await running.said('it has begun');
  running.signal('SIGINT');
  expect(await running.result).toMatchObject({ exitCode: 130 });
  expect(await readdir(nix.dir)).not.toContain('dest');
});
