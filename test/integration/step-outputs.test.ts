/** What later steps of a job get is what docs/json.md lists, of every command. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { nixcache } from '../support/e2e-cli.ts';
import { type PublishJson, readJson } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const DOCS = await readFile(fileURLToPath(new URL('../../docs/json.md', import.meta.url)), 'utf8');
const [, TABLE = ''] = DOCS.split('# What later steps of a GitHub job get');

/** Names between backticks that begin an item of the row. */
function documented(command: string): readonly string[] {
  const [, row = ''] = new RegExp(`^\\| \`${command}\` \\| (.*) \\|$`, 'm').exec(TABLE) ?? [];
  const names = row.split(';').flatMap((item) => [...(item.split(':', 1)[0] ?? '').matchAll(/`([a-z-]+)`/g)]);
  const own = names.map(([, name = '']) => name);
  return own.includes('push') ? [...documented('push'), ...own.filter((name) => name !== 'push')] : own;
}

let nix: NixEnv;
let path: string;
beforeAll(async () => {
  nix = await createNixEnv();
  await mkdir(join(nix.dir, 'flake'));
  await writeFile(
    join(nix.dir, 'flake/flake.nix'),
    `{ outputs = { self }: { packages.x86_64-linux.a = derivation {
      name = "a"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo a > $out" ];
    }; }; }`,
  );
  const { stdout } = await nixcache(
    ['publish', join(nix.dir, 'flake'), '--to', `oci:${nix.dir}/cache`, '--no-upstream', '--json'],
    { env: nix.env },
  );
  path = String((readJson(stdout) as PublishJson).outputs[0]?.outputs['out']);
});
afterAll(() => nix.cleanup());

it.each([
  ['publish', ['publish', './flake', '--no-upstream']],
  ['push', ['push', 'PATH', '--no-upstream']],
  ['discover --matrix', ['discover', '--matrix', './flake']],
  ['gc', ['gc', '--dry-run']],
  ['verify', ['verify', '--no-upstream']],
  ['doctor', ['doctor', '--no-upstream']],
])('%s', async (command, args) => {
  const file = join(nix.dir, 'output');
  const env = { ...nix.env, NIXCACHE_CACHE: `oci:${nix.dir}/cache`, GITHUB_OUTPUT: file };
  const { stderr } = await nixcache(
    args.map((word) => word.replace('PATH', path)),
    { env, cwd: nix.dir },
  );
  const written = [...(await readFile(file, 'utf8')).matchAll(/^([\w-]+)<<(\S+)\n[\s\S]*?\n\2$/gm)].map(
    ([, name]) => name,
  );
  await rm(file);
  expect(written.length, stderr).toBeGreaterThan(0);
  expect(written.sort()).toEqual([...documented(command)].sort());
});
