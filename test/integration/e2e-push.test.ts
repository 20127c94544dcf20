/** `push`, and the options that it shares with `publish`. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { type CacheHost, layoutRoots, startLayouts } from '../support/e2e-caches.ts';
import { type CliResult, nixcache, startServe } from '../support/e2e-cli.ts';
import { EXAMPLE, lines, readJson, runNix, substitute } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('push-1');
let host: CacheHost;
let nix: NixEnv;
/** Closure of the example's host. */
let closure: string[];
let lighthouse = '';

beforeAll(async () => {
  [host, nix] = await Promise.all([startLayouts(), createNixEnv()]);
  const built = await nixcache(['publish', EXAMPLE, '--to', host.cache('whole'), '--no-upstream', '--json'], nix);
  lighthouse = readJson(built.stdout).pushed?.find((path) => path.includes('-nixos-system-')) ?? '';
  closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', lighthouse)).sort();
});
afterAll(() => Promise.all([host.stop(), nix.cleanup()]));

const run = (args: readonly string[], cache: string, options: { env?: Record<string, string>; input?: string } = {}) =>
  nixcache([...args, '--to', host.cache(cache), '--no-upstream', '--json'], {
    env: { ...nix.env, ...(options.env ?? { NIX_SIGNING_KEY: key.secret }) },
    ...(options.input === undefined ? {} : { input: options.input }),
  });
const sorted = (paths: readonly string[] | undefined): string[] => [...(paths ?? [])].sort();
const named = (part: string): string => closure.find((path) => path.includes(part)) ?? '';

describe('what is pushed', () => {
  it('is the closure of paths, which become roots by their names', async () => {
    const result = await run(['push', named('-motd-1.0'), named('-hello-1.0')], 'paths');
    expect(result.exitCode).toBe(0);
    expect(sorted(readJson(result.stdout).pushed)).toEqual(sorted([named('-motd-1.0'), named('-hello-1.0')]));
    expect((await layoutRoots(host.cache('paths'))).map(({ name }) => name).sort()).toEqual(['hello-1.0', 'motd-1.0']);
  });

  it('is what standard input lists, a root of the name that was given', async () => {
    const result = await run(['push', '-', '--name', 'my-host'], 'stdin', { input: `${lighthouse}\n\n` });
    expect(result.exitCode).toBe(0);
    expect(sorted(readJson(result.stdout).pushed)).toEqual(closure);
    const roots = await layoutRoots(host.cache('stdin'));
    expect(roots).toMatchObject([{ name: 'my-host', path: lighthouse.slice(11) }]);
  });

  it('leaves out what is excluded, and says who then lacks a reference', async () => {
    const result = await run(
      ['push', lighthouse, '--exclude-path', '-primes-1', '--exclude-path', '-(motd|tee)-'],
      'excluded',
    );
    expect(result.exitCode).toBe(0);
    const left = [named('-primes-1'), named('-motd-1'), named('-tee-1')];
    expect(sorted(readJson(result.stdout).pushed)).toEqual(closure.filter((path) => !left.includes(path)));
    expect(result.stderr).toMatch(/-primes-1\.0 is left out: .*; these then lack a reference: \S+-small-world-1\.0/);
    await using server = await startServe(['--from', host.cache('excluded'), '--no-upstream'], nix);
    expect((await fetch(`${server.url}/${named('-primes-1').slice(11, 43)}.narinfo`)).status).toBe(404);
    // Left out again: nothing to push.
    const again = await run(['publish', EXAMPLE, '--only', 'packages.*.default', '--exclude-path', '.*'], 'excluded');
    expect(readJson(again.stdout)).toMatchObject({ pushed: [], outputs: [{ status: 'cached' }] });
  });

  it('leaves out NARs that are too large', async () => {
    const result = await run(['push', lighthouse, '--max-nar-size', '500K'], 'small');
    expect(result.exitCode).toBe(0);
    expect(sorted(readJson(result.stdout).pushed)).toEqual(closure.filter((path) => !path.includes('-primes-')));
    expect(readJson(result.stdout).excluded).toMatchObject([
      { path: named('-primes-'), dependents: [expect.any(String)] },
    ]);
    expect(result.stderr).toMatch(/-primes-1\.0 is left out: its NAR is \d+ bytes, more than --max-nar-size 512000/);
  });

  it('has what is needed to build it as well, where that is wanted', async () => {
    const result = await run(['push', named('-countdown-1.0'), '--with-build-deps'], 'build-deps');
    expect(result.exitCode).toBe(0);
    const { pushed = [] } = readJson(result.stdout);
    const names = pushed.map((path) => path.slice(44)).sort();
    expect(names).toEqual(['bfc-1.0', 'bfc.awk', 'countdown-1.0', 'countdown.bf']);
    await using server = await startServe(['--from', host.cache('build-deps'), '--no-upstream'], nix);
    expect(await substitute(server.url, [key.public], pushed)).toEqual(sorted(pushed));
  });
});

describe('a dry run', () => {
  it.each([
    ['push', () => ['push', lighthouse]],
    ['publish', () => ['publish', EXAMPLE]],
  ])('of %s writes nothing at all', async (name, args) => {
    const cache = `dry-${name}`;
    await run(['push', named('-motd-1.0')], cache);
    const before = await host.snapshot();
    const result = await run([...args(), '--dry-run'], cache);
    expect(result.exitCode).toBe(0);
    const { push, cached, pushed } = readJson(result.stdout);
    expect(push.paths.length).toBeGreaterThanOrEqual(closure.length - 1);
    expect(push.paths).not.toContain(named('-motd-1.0'));
    expect([cached.paths.length + (name === 'publish' ? 1 : 0) > 0, pushed]).toEqual([true, undefined]);
    expect(await run([...args(), '--dry-run'], `${cache}-nowhere`)).toMatchObject({ exitCode: 0 });
    expect(await host.snapshot()).toEqual(before);
  });
});

describe('signing', () => {
  it('that is required and impossible stops before anything is done', async () => {
    const before = await host.snapshot();
    const result = await run(['push', lighthouse, '--require-signing'], 'unsigned', { env: {} });
    expect(result).toMatchObject({ exitCode: 2 });
    expect(JSON.parse(result.stdout)).toMatchObject({ error: { code: 'ERR_USAGE' } });
    expect(result.stderr).toMatch(/^nixcache: signing is required, and there is no key: .*--key-file/);
    expect(await host.snapshot()).toEqual(before);
  });

  it('that is left out is warned of, and clients refuse what came of it', async () => {
    const result = await run(['push', lighthouse, '--quiet'], 'unsigned', { env: {} });
    expect(result.exitCode).toBe(0);
    expect(result.stderr).toMatch(/^warning: there is no signing key: .*unsigned.*key generate[^\n]*$/);
    await using server = await startServe(['--from', host.cache('unsigned'), '--no-upstream'], nix);
    await expect(substitute(server.url, [key.public], [lighthouse])).rejects.toThrow(/not signed by any/);
    expect((await fetch(`${server.url}/public-key`)).status).toBe(404);
  });

  it('with two keys serves those who trust either', async () => {
    const keys = [generateKey('old-1'), generateKey('new-2')];
    const files = keys.map((_each, index) => join(nix.dir, `key-${index}`));
    for (const [index, file] of files.entries()) await writeFile(file, keys[index]?.secret ?? '');
    const flags = files.flatMap((file) => ['--key-file', file]);
    expect(await run(['push', lighthouse, ...flags], 'two-keys', { env: {} })).toMatchObject({ exitCode: 0 });
    await using server = await startServe(['--from', host.cache('two-keys'), '--no-upstream'], nix);
    const narInfo = await (await fetch(`${server.url}/${lighthouse.slice(11, 43)}.narinfo`)).text();
    expect(narInfo.match(/^Sig: (old-1|new-2):/gm)?.length).toBe(2);
    const shown = await (await fetch(`${server.url}/public-key`)).text();
    expect(lines(shown).sort()).toEqual(keys.map((each) => each.public).sort());
    for (const { public: trusted } of keys) {
      expect(await substitute(server.url, [trusted], [lighthouse])).toEqual(closure);
    }
  });
});

describe.each(['xz', 'none', 'zstd:9', 'zstd'])('compression with %s', (method) => {
  it('is what Nix unpacks', async () => {
    const cache = `compressed-${method.replace(':', '-')}`;
    expect(await run(['push', lighthouse, '--compression', method], cache)).toMatchObject({ exitCode: 0 });
    await using server = await startServe(['--from', host.cache(cache), '--no-upstream'], nix);
    for (const path of closure) {
      const narInfo = await (await fetch(`${server.url}/${path.slice(11, 43)}.narinfo`)).text();
      expect(narInfo).toContain(`\nCompression: ${method.split(':')[0]}\n`);
    }
    expect(await substitute(server.url, [key.public], [lighthouse])).toEqual(closure);
  });
});

describe('quiet', () => {
  it('says nothing where there is nothing to say', async () => {
    const flake = ['publish', EXAMPLE, '--to', host.cache('quiet'), '--no-upstream', '--quiet'];
    const result: CliResult = await nixcache(flake, { env: { ...nix.env, NIX_SIGNING_KEY: key.secret } });
    expect(result).toEqual({ exitCode: 0, stdout: '', stderr: '' });
  });

  it('takes the flake of the directory it is in, or of its config/', async () => {
    const project = join(nix.dir, 'project/config');
    await mkdir(project, { recursive: true });
    await writeFile(
      join(project, 'flake.nix'),
      '{ outputs = { self }: { packages.x86_64-linux.p = derivation { name = "p"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }; }; }',
    );
    for (const cwd of [project, join(nix.dir, 'project')]) {
      const result = await nixcache(['publish', '--to', host.cache('here'), '--no-upstream', '--json'], {
        ...nix,
        cwd,
      });
      expect(readJson(result.stdout).outputs).toMatchObject([{ attrPath: 'packages.x86_64-linux.p' }]);
    }
  });
});
