/** Publishing what does not build or evaluate as a whole, and building on what the cache has. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { type CacheHost, startLayouts } from '../support/e2e-caches.ts';
import { type CliResult, nixcache, startServe } from '../support/e2e-cli.ts';
import { copyExample, readJson, runNix, storeContents, substitute, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const BROKEN = fileURLToPath(new URL('../nix-store/fixtures/broken', import.meta.url));
const key = generateKey('builds-1');
let host: CacheHost;
let nix: NixEnv;

beforeAll(async () => {
  [host, nix] = await Promise.all([startLayouts(), createNixEnv()]);
});
afterAll(() => Promise.all([host.stop(), nix.cleanup()]));

const publish = (flake: string, cache: string, { env }: NixEnv, ...args: string[]): Promise<CliResult> =>
  nixcache(['publish', flake, '--to', host.cache(cache), '--json', ...args], {
    env: { ...env, NIX_SIGNING_KEY: key.secret },
  });
const builtBy = ({ stderr }: CliResult): string[] =>
  [...stderr.matchAll(/^building (\S+)$/gm)].map(([, name = '']) => name).sort();

describe('builds that fail', () => {
  it('are told of with the ends of their logs, while the others are published', async () => {
    const flake = await writeFlake(
      join(nix.dir, 'failing'),
      `rec {
        good = run "good" "echo good > $out";
        bad = run "bad" "echo the pump is dry >&2; exit 1";
        worse = run "worse" "echo the valve is stuck; exit 7";
        dependent = run "dependent" "cat \${bad} > $out";
        better = run "better" "cat \${good} > $out; echo better >> $out";
      }`,
    );
    const result = await publish(flake, 'failing', nix, '--no-upstream');
    expect(result.exitCode).toBe(3);
    const { outputs, pushed = [] } = readJson(result.stdout);
    const states = Object.fromEntries(outputs.map(({ attrPath, status }) => [attrPath.split('.').at(-1), status]));
    expect(states).toEqual({ good: 'built', better: 'built', bad: 'failed', worse: 'failed', dependent: 'failed' });
    expect(pushed.map((path) => path.slice(44)).sort()).toEqual(['better', 'good']);
    expect(result.stderr).toMatch(/packages\.x86_64-linux\.bad failed to build: .*\n {2}> the pump is dry$/m);
    expect(result.stderr).toMatch(/packages\.x86_64-linux\.worse failed to build: .*\n {2}> the valve is stuck$/m);
    expect(result.stderr).toMatch(/packages\.x86_64-linux\.dependent failed to build: /);
    await using server = await startServe(['--from', host.cache('failing'), '--no-upstream'], nix);
    expect(await substitute(server.url, [key.public], pushed)).toEqual([...pushed].sort());
  });

  it('fail the whole run when nothing is left', async () => {
    const flake = await writeFlake(join(nix.dir, 'hopeless'), '{ bad = run "bad" "exit 1"; }');
    const result = await publish(flake, 'hopeless', nix, '--no-upstream');
    expect(result.exitCode).toBe(1);
    expect(readJson(result.stdout).pushed).toEqual([]);
  });
});

it('publishes what evaluates of a flake that is broken in every other way', async () => {
  const flake = join(nix.dir, 'broken');
  await cp(BROKEN, flake, { recursive: true });
  const result = await publish(flake, 'broken', nix, '--no-upstream');
  expect(result.exitCode).toBe(3);
  const { pushed = [], evaluationFailures } = readJson(result.stdout);
  expect(pushed.map((path) => path.slice(44)).sort()).toEqual(['good', 'host']);
  const names = evaluationFailures.map(({ attrPath }) => attrPath.split('.').at(-1));
  expect(names).toEqual(
    expect.arrayContaining(['aborts', 'asserts', 'loops', 'misses', 'mistyped', 'throws', 'broken']),
  );
  expect(result.stderr).toMatch(/packages\.x86_64-linux\.throws does not evaluate: broken: throws/);
});

describe('the cache as a substituter', () => {
  it('gives a builder what it would have to build', async () => {
    // Built twice it would not be the same.
    const dependency = 'run "dependency" "date +%N > $out; sleep 0.01; date +%N >> $out"';
    const before = await writeFlake(join(nix.dir, 'before'), `{ dependency = ${dependency}; }`);
    const first = await publish(before, 'dependency', nix, '--no-upstream');
    const [path = ''] = readJson(first.stdout).pushed ?? [];
    const builder = await createNixEnv();
    try {
      const after = await writeFlake(join(builder.dir, 'after'), `{ app = run "app" "cat \${${dependency}} > $out"; }`);
      const second = await publish(after, 'dependency', builder, '--no-upstream');
      expect(second).toMatchObject({ exitCode: 0 });
      expect(builtBy(second)).toEqual(['app']);
      expect(readJson(second.stdout).pushed?.map((each) => each.slice(44))).toEqual(['app']);
      const hashes = await Promise.all(
        [nix, builder].map((env) => runNix(env, 'nix-store', '--query', '--hash', path)),
      );
      expect(new Set(hashes).size).toBe(1);
    } finally {
      await builder.cleanup();
    }
  });

  it('is not trusted with other keys than those of this run', async () => {
    const dependency = 'run "foreign" "echo foreign > $out"';
    const before = await writeFlake(join(nix.dir, 'foreign'), `{ dependency = ${dependency}; }`);
    expect(await publish(before, 'foreign', nix, '--no-upstream')).toMatchObject({ exitCode: 0 });
    const builder = await createNixEnv();
    try {
      const after = await writeFlake(join(builder.dir, 'f'), `{ app = run "app" "cat \${${dependency}} > $out"; }`);
      const result = await nixcache(['publish', after, '--to', host.cache('foreign'), '--no-upstream'], {
        env: { ...builder.env, NIX_SIGNING_KEY: generateKey('builds-2').secret },
      });
      expect(result).toMatchObject({ exitCode: 0 });
      expect(builtBy(result)).toEqual(['app', 'foreign']);
    } finally {
      await builder.cleanup();
    }
  });
});

describe('--no-build', () => {
  it('publishes what is there and says what is not', async () => {
    const flake = await copyExample(join(nix.dir, 'unbuilt'), { 'src/manual.md': '\nUnbuilt.\n' });
    const built = await runNix(nix, 'nix', 'build', '--no-link', '--json', `path:${flake}#primes`);
    const [{ outputs: primes }] = JSON.parse(built) as [{ readonly outputs: { readonly out: string } }];
    const result = await publish(
      flake,
      'unbuilt',
      nix,
      '--no-upstream',
      '--no-build',
      '--only',
      'packages.*.{primes,manual}',
    );
    expect(result.exitCode).toBe(0);
    expect(readJson(result.stdout).pushed).toEqual([primes.out]);
    expect(result.stderr).toMatch(/packages\.x86_64-linux\.manual is not built, and --no-build was given: skipped/);
    expect(await storeContents(nix)).not.toContain(
      readJson(result.stdout).outputs.find(({ status }) => status === 'skipped')?.outputs['out'],
    );
  });
});
