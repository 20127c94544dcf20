/**
 * Pushes that are asked to end, at several points, into both kinds of cache: they commit what is there, say so, and what
 * they said can be substituted.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { CACHE_KINDS, type CacheHost, startRegistry } from '../support/e2e-caches.ts';
import { nixcache, startFreshServe, startNixcache } from '../support/e2e-cli.ts';
import { lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { startHoldingProxy } from '../support/holding-proxy.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('stopped-1');
const LARGE_BYTES = 1_000_000;
/** Each needs the one before; every fourth is large. */
const PACKAGES = `rec {
  ${Array.from({ length: 40 }, (_each, i) => {
    const before = i === 0 ? '' : `\${p${i - 1}}`;
    return `p${i} = run "p-${i}" "mkdir $out; head -c ${i % 4 === 3 ? LARGE_BYTES : 2000} /dev/urandom > $out/data; echo ${before} > $out/before";`;
  }).join('\n  ')}
}`;

/** Of `--json`. */
interface Report {
  readonly pushed: readonly string[];
  readonly notPushed: readonly string[];
  readonly interrupted: boolean;
  readonly error?: { readonly code: string; readonly message: string };
}

let nix: NixEnv;
let flake: string;
let top: string;
let closure: string[];

beforeAll(async () => {
  nix = await createNixEnv();
  flake = await writeFlake(join(nix.dir, 'flake'), PACKAGES);
  const built = await nixcache(
    ['publish', flake, '--to', `oci:${join(nix.dir, 'built')}`, '--no-upstream', '--json'],
    nix,
  );
  if (built.exitCode !== 0) throw new Error(built.stderr);
  const outputs = readJson(built.stdout).outputs.map((output) => output.outputs['out'] ?? '');
  top = outputs.find((path) => path.endsWith('-p-39')) ?? '';
  closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', top)).sort();
});
afterAll(() => nix.cleanup());

const options = () => ({ env: { ...nix.env, NIX_SIGNING_KEY: key.secret } });
const push = (cache: string): string[] => ['push', top, '--to', cache, '--no-upstream', '--json', '--verbose'];

/** What was pushed can be substituted, and `verify` has nothing to say. */
async function expectSound(cache: string, pushed: readonly string[]): Promise<void> {
  if (pushed.length === 0) return;
  expect(await nixcache(['verify', '--cache', cache, '--contents'], options())).toMatchObject({ exitCode: 0 });
  await using server = await startFreshServe(['--from', cache, '--no-upstream'], nix);
  const wanted = [...pushed].sort();
  expect(await substitute(server.url, [key.public], wanted)).toEqual(wanted);
}

/** The points at which it is asked to end: once it has said so much. */
const POINTS = ['pushing', '-p-3\n', '-p-7\n', '-p-15\n', '-p-31\n'];

describe.each(CACHE_KINDS)('a push into $name', ({ start }) => {
  let host: CacheHost;
  beforeAll(async () => {
    host = await start();
  });
  afterAll(() => host.stop());

  it.each(['SIGINT', 'SIGTERM'] as const)('that gets a %s commits what is there, and says how much', async (signal) => {
    for (const [i, point] of POINTS.entries()) {
      const cache = host.cache(`${signal.toLowerCase()}-${i}`);
      await using running = startNixcache(push(cache), options());
      await running.said(point);
      running.signal(signal);
      const { exitCode, stdout, stderr } = await running.result;
      const { pushed, notPushed, interrupted } = JSON.parse(stdout) as Report;
      expect([...pushed, ...notPushed].sort()).toEqual(closure);
      await expectSound(cache, pushed);
      if (cache.startsWith('oci:')) expect(await readdir(join(cache.slice(4), '.ingest')).catch(() => [])).toEqual([]);
      if (exitCode === 0) continue; // it was done before it heard
      expect({ exitCode, interrupted }).toEqual({ exitCode: 130, interrupted: true });
      const some = pushed.length === 0 ? 'none of 40 paths is' : `${pushed.length} of 40 paths are`;
      expect(stderr).toContain(`nixcache: interrupted: ${some} in the cache; run the same command again to go on`);
    }
    const cache = host.cache(`${signal.toLowerCase()}-2`);
    const again = await nixcache(push(cache), options());
    expect(again).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(again.stdout)).toMatchObject({ notPushed: [], interrupted: false });
    await expectSound(cache, closure);
  });
});

describe('a publish', () => {
  it('that is interrupted gives up an upload that does not end, and commits what does not need it', async () => {
    const host = await startRegistry();
    try {
      await using proxy = await startHoldingProxy(
        host.registry.host,
        ({ method, headers }) => method !== 'GET' && Number(headers['content-length'] ?? 0) >= LARGE_BYTES,
      );
      const to = `${proxy.host}/e2e/held`;
      const args = ['publish', flake, '--to', to, '--no-upstream', '--json', '--verbose'];
      await using running = startNixcache(args, options());
      await Promise.all([proxy.held, ...['-p-0\n', '-p-1\n', '-p-2\n'].map((path) => running.said(path))]);
      running.signal('SIGTERM');
      const { exitCode, stdout, stderr } = await running.result;
      const report = JSON.parse(stdout) as Report;
      expect({ exitCode, pushed: report.pushed.map((path) => path.slice(44)).sort() }).toEqual({
        exitCode: 130,
        pushed: ['p-0', 'p-1', 'p-2'],
      });
      expect(stderr).toContain('interrupted: 3 of 40 paths are in the cache; run the same command again to go on');
      await expectSound(host.cache('held'), report.pushed);
      // It is no root: the newest publish that is whole goes on to count as the newest.
      const listed = await nixcache(['list', '--roots', '--from', host.cache('held'), '--json'], options());
      expect(JSON.parse(listed.stdout)).toMatchObject({ roots: [] });
    } finally {
      await host.stop();
    }
  });

  it('whose registry refuses a blob commits what does not need it, lists the rest, and exits with 5', async () => {
    const registry = await FakeRegistry.start({ maxPutBytes: LARGE_BYTES });
    try {
      const to = `${registry.host}/e2e/refusing`;
      const { exitCode, stdout, stderr } = await nixcache(
        ['publish', flake, '--to', to, '--no-upstream', '--json'],
        options(),
      );
      const { pushed, notPushed, interrupted, error } = JSON.parse(stdout) as Report;
      expect({ exitCode, interrupted, error }).toEqual({
        ...{ exitCode: 5, interrupted: false },
        error: { code: 'ERR_REGISTRY', message: expect.stringContaining('400') },
      });
      expect(pushed.map((path) => path.slice(44)).sort()).toEqual(['p-0', 'p-1', 'p-2']);
      expect(notPushed.length).toBe(37);
      expect(stderr).toContain(`not pushed: ${notPushed[0]}\n`);
      expect(stderr).toContain('3 of 40 paths are in the cache; run the same command again to go on');
      await expectSound(to, pushed);
    } finally {
      await registry.close();
    }
  });

  it('whose registry refuses everything once all is built lists all, and exits with 5; so does a push', async () => {
    const registry = await FakeRegistry.start({ maxPutBytes: 1 });
    try {
      const to = `${registry.host}/e2e/refusing-all`;
      for (const args of [['publish', flake, '--to', to, '--no-upstream', '--json'], push(to)]) {
        const { exitCode, stdout, stderr } = await nixcache(args, options());
        const { pushed, notPushed, error } = JSON.parse(stdout) as Report;
        expect({ exitCode, pushed, error }).toMatchObject({ exitCode: 5, pushed: [], error: { code: 'ERR_REGISTRY' } });
        expect([...notPushed].sort()).toEqual(closure);
        expect(stderr).toContain('none of 40 paths is in the cache; run the same command again to go on');
        expect(stderr).not.toMatch(/published 0|use it/);
      }
    } finally {
      await registry.close();
    }
  });
});
