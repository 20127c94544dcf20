/** What users install: the npm package, the flake's dependencies and the workflows. */
import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, expect, it } from 'vitest';
import { VERSION } from '../src/version.ts';
import { requireBuild } from './support/e2e-cli.ts';
import { writeFlake } from './support/e2e-nix.ts';
import { createNixEnv } from './support/nix-env.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const nix = await createNixEnv();
afterAll(() => nix.cleanup());

const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
};

it('the package is built before it is packed, and works where nothing else is', async () => {
  expect(manifest.scripts['prepack']).toBe('npm run --silent build');
  requireBuild();
  // As npm installs it, but for a registry: beside its dependencies, without the sources.
  const modules = join(nix.dir, 'prefix/lib/node_modules');
  await mkdir(modules, { recursive: true });
  const pack = ['pack', '--ignore-scripts', '--pack-destination', nix.dir, '--silent'];
  const { stdout: tarball } = await execa('npm', pack, { cwd: ROOT });
  await execa('tar', ['-xzf', join(nix.dir, tarball.trim()), '-C', modules]);
  expect((await readdir(join(modules, 'package'))).sort()).toEqual(
    ['LICENSE', 'README.md', 'bin', 'config', 'dist', 'package.json', 'workflows'].sort(),
  );
  await symlink(join(ROOT, 'node_modules'), join(modules, 'package/node_modules'));
  const bin = join(modules, 'package/bin/nixcache.js');
  const run = (args: readonly string[]) => execa(process.execPath, [bin, ...args], { env: nix.env, extendEnv: false });
  expect((await run(['--version'])).stdout).toBe(`nixcache ${VERSION}`);
  const flake = await writeFlake(join(nix.dir, 'flake'), '{ a = run "a" "echo a > $out"; }');
  const { stderr } = await run(['publish', flake, '--no-upstream', '--to', `oci:${nix.dir}/cache`]);
  expect(stderr).toContain('published 1 path');
});

it('the lock file of the flake has a URL and a hash for everything', async () => {
  const expression = `import ${ROOT}package-lock.nix (builtins.fromJSON (builtins.readFile ${ROOT}package-lock.json))`;
  const args = ['--eval', '--strict', '--json', '-E', expression];
  const { stdout } = await execa('nix-instantiate', args, { env: nix.env, extendEnv: false });
  const { packages } = JSON.parse(stdout) as {
    readonly packages: Readonly<Record<string, { readonly resolved?: string; readonly integrity?: string }>>;
  };
  const entries = Object.entries(packages).filter(([path]) => path !== '');
  for (const [path, { resolved, integrity }] of entries) {
    expect({ path, resolved, integrity }).toEqual({
      path,
      resolved: expect.stringMatching(/^https:\/\/registry\.npmjs\.org\/.*\/-\/.*\.tgz$/),
      integrity: expect.stringMatching(/^sha512-/),
    });
  }
  expect(packages['node_modules/@octokit/core']?.resolved).toMatch(
    /^https:\/\/registry\.npmjs\.org\/@octokit\/core\/-\/core-[\d.]+\.tgz$/,
  );
  for (const name of Object.keys(manifest.dependencies))
    expect(Object.keys(packages)).toContain(`node_modules/${name}`);
});

it('workflows run what is pinned: actions by commit, nixcache by version', async () => {
  for (const file of await readdir(join(ROOT, 'workflows'))) {
    const text = await readFile(join(ROOT, 'workflows', file), 'utf8');
    const uses = [...text.matchAll(/uses: (.*)/g)].map(([, action]) => action);
    expect(uses.length).toBeGreaterThan(0);
    for (const action of uses) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v[\d.]+$/);
    for (const [, run] of text.matchAll(/npx (.*)/g)) expect(run).toMatch(new RegExp(`^--yes nixcache@${VERSION} `));
  }
});
