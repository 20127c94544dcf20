/** What users install: the npm package, the flake's dependencies and the workflows. */
import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, describe, expect, it } from 'vitest';
import { VERSION } from '../src/version.ts';
import { requireBuild } from './support/e2e-cli.ts';
import { writeFlake } from './support/e2e-nix.ts';
import { createNixEnv } from './support/nix-env.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const nix = await createNixEnv();
afterAll(() => nix.cleanup());

const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
  readonly private: boolean;
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

describe('workflows', async () => {
  const files = await readdir(join(ROOT, 'workflows'));
  const texts = await Promise.all(files.map((file) => readFile(join(ROOT, 'workflows', file), 'utf8')));
  /** The steps of all jobs, as text, in their order. */
  const stepsOf = (text: string): readonly string[] =>
    text.split(/^ {2}[\w-]+:$/m).flatMap((job) => job.split(/^ {6}- /m).slice(1));

  it.each(texts)('pin actions by commit', (text) => {
    const uses = [...text.matchAll(/uses: (.*)/g)].map(([, action]) => action);
    expect(uses.length).toBeGreaterThan(0);
    for (const action of uses) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v[\d.]+$/);
  });

  it.each(texts)('run what they have built themselves, with no secret where npm runs', (text) => {
    const steps = stepsOf(text);
    const runs = steps.filter((step) => /run: .*nixcache\.js/.test(step));
    expect(runs.length).toBeGreaterThan(0);
    for (const run of runs) {
      expect(run).toContain('run: node nixcache-tool/bin/nixcache.js ');
      const before = steps.slice(0, steps.indexOf(run));
      expect(before.findLast((step) => step.includes('npm ci && npm run build'))).toContain(
        'working-directory: nixcache-tool',
      );
      const tool = before.findLast((step) => step.includes('path: nixcache-tool'));
      expect(tool).toMatch(/repository: \$\{\{ env\.TOOL_REPOSITORY \}\}\n.*ref: \$\{\{ env\.TOOL_REF \}\}\n/);
    }
    for (const step of steps.filter((each) => each.includes('actions/checkout@'))) {
      expect(step).toContain('persist-credentials: false'); // else npm finds the token in a file
    }
    for (const step of steps.filter((each) => /\bnpm\b/.test(each))) expect(step).not.toMatch(/secrets\.|env:|token/i);
    expect(text.slice(0, text.indexOf('jobs:'))).not.toMatch(/\bsecrets\./);
  });

  it.each(texts)('say what is to be filled in, and stop there, while it is not', async (text) => {
    const jobs = text.split('runs-on:').length - 1;
    const scripts = [...text.matchAll(/run: \|\n((?: {10}.*\n)+)/g)].map(([, script = '']) => script);
    expect(scripts).toHaveLength(jobs);
    const commit = 'a'.repeat(40);
    const run = (script: string, TOOL_REPOSITORY: string, TOOL_REF: string) =>
      execa('bash', ['-e', '-c', script], { env: { TOOL_REPOSITORY, TOOL_REF }, reject: false });
    for (const script of scripts) {
      for (const [repository, ref] of [
        ['', ''],
        ['me/nixcache', ''],
        ['', commit],
        ['me/nixcache', 'main'],
      ] as const) {
        const { exitCode, stdout } = await run(script, repository, ref);
        expect(exitCode).toBe(1);
        expect(stdout).toMatch(/^::error::fill in TOOL_REPOSITORY .* and TOOL_REF/);
      }
      expect(await run(script, 'me/nixcache', commit)).toMatchObject({ exitCode: 0, stdout: '' });
    }
    // It is the first step of each job: checkout takes no repository for this one.
    for (const steps of text.split(/^ {4}steps:$/m).slice(1))
      expect(steps.trimStart()).toMatch(/^- name: where nixcache/);
  });
});

/** Ways to have a registry's `nixcache` run or installed, the last being what README has of a package that was made here. */
const FROM_REGISTRY =
  /\b(?:npx|bunx|npm (?:exec|x)|(?:pnpm|yarn) dlx)(?:\s+-\S+)*\s+["'`]?nixcache\b|--package[= ]["']?nixcache\b|\b(?:npm|pnpm|yarn|bun)\s+(?:i|install|add|global)\b[^\n]*\s["'`]?nixcache(?![\w./-])/;

it("nothing runs or installs what is called nixcache in a registry, where the name is nobody's yet", async () => {
  // Whoever publishes it takes this away, and then this test.
  expect(manifest.private).toBe(true);
  for (const line of [
    'npx nixcache',
    'npx --yes nixcache@0.1.0 gc',
    'npm i -g nixcache',
    'npm exec -- nixcache',
    'npm install --global nixcache@1',
  ])
    expect(line).toMatch(FROM_REGISTRY);
  expect('npm install -g ./nixcache-*.tgz').not.toMatch(FROM_REGISTRY);
  const directories = ['.ci', 'bench', 'bin', 'config', 'docs', 'src', 'workflows'];
  const below = await Promise.all(
    directories.map(async (directory) =>
      (await readdir(join(ROOT, directory), { recursive: true })).map((name) => join(directory, name)),
    ),
  );
  expect(below.flat()).toContain('workflows/publish.yml');
  for (const file of ['README.md', 'CHANGELOG.md', 'flake.nix', 'package.json', ...below.flat()]) {
    const text = await readFile(join(ROOT, file), 'utf8').catch(() => '');
    expect({ file, line: FROM_REGISTRY.exec(text)?.[0] }).toEqual({ file, line: undefined });
  }
});
