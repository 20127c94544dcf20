/** `--with-build-deps` is about all outputs that were asked for, whether the cache has them already or not. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type NixCli, openNixCli } from '../nix-cli.ts';

let cli: NixCli;
beforeAll(async () => {
  cli = await openNixCli();
});
afterAll(() => cli.nix.cleanup());

it('what is needed to build an output is published also where the cache has the output', async () => {
  const file = join(cli.nix.dir, 'release.nix');
  await writeFile(
    file,
    `let
      make = name: script: derivation { inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ]; };
      tool = make "tool-1" "echo tool > $out";
    in { app = make "app-1" "test -e \${tool}; echo app > $out"; }`,
  );
  const args = ['publish', '--file', file, '--to', `oci:${join(cli.nix.dir, 'cache')}`, '--no-upstream', '--json'];
  const namesOf = (stdout: string): string[] =>
    (JSON.parse(stdout) as { pushed: string[] }).pushed.map((path) => path.slice(44)).sort();
  expect(namesOf((await cli.run(args)).stdout)).toEqual(['app-1']);
  expect(namesOf((await cli.run(args)).stdout)).toEqual([]);
  expect(namesOf((await cli.run([...args, '--with-build-deps'])).stdout)).toEqual(['tool-1']);
});
