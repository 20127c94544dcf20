/** What upstream caches have is not published; and what becomes of a publish when they are slow, wrong or gone. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { type CacheHost, startLayouts } from '../support/e2e-caches.ts';
import { type CliResult, nixcache, startServe } from '../support/e2e-cli.ts';
import { EXAMPLE, lines, readJson, runNix, withClient } from '../support/e2e-nix.ts';
import { type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('mine-1');
const upstreamKey = generateKey('upstream-1');
let host: CacheHost;
let nix: NixEnv;
/** A cache on disk, as `nix copy` makes them, of the manual and all that it refers to. */
let directory = '';
let there: string[];
let closure: string[];

beforeAll(async () => {
  [host, nix] = await Promise.all([startLayouts(), createNixEnv()]);
  const built = await nixcache(['publish', EXAMPLE, '--to', host.cache('whole'), '--no-upstream', '--json'], nix);
  const { pushed = [], outputs } = readJson(built.stdout);
  closure = [...pushed].sort();
  const manual = outputs.find(({ attrPath }) => attrPath.endsWith('.manual'))?.outputs['out'] ?? '';
  there = lines(await runNix(nix, 'nix-store', '--query', '--requisites', manual)).sort();
  directory = join(nix.dir, 'upstream');
  const secret = join(nix.dir, 'upstream.secret');
  await writeFile(secret, upstreamKey.secret);
  await runNix(nix, 'nix', 'copy', '--to', `file://${directory}?secret-key=${secret}`, manual);
});
afterAll(() => Promise.all([host.stop(), nix.cleanup()]));

/** The directory over HTTP, with the requests that come. */
async function serveDirectory(): Promise<FakeUpstream> {
  const upstream = await startFakeUpstream();
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    upstream.files.set(file.slice(directory.length), await readFile(file));
  }
  return upstream;
}

const publish = (cache: string, env: NixEnv, ...args: string[]): Promise<CliResult> =>
  nixcache(['publish', EXAMPLE, '--to', host.cache(cache), '--json', ...args], {
    env: { ...env.env, NIX_SIGNING_KEY: key.secret },
  });
const missing = (): string[] => closure.filter((path) => !there.includes(path));

describe('an upstream', () => {
  it('spares the cache what it has, asked over HTTP', async () => {
    const upstream = await serveDirectory();
    const result = await publish('http', nix, '--upstream', upstream.url);
    expect(result.exitCode).toBe(0);
    const json = readJson(result.stdout);
    expect([...(json.pushed ?? [])].sort()).toEqual(missing());
    expect([...json.upstream.paths].sort()).toEqual(there);
    expect(upstream.requests.filter((request) => request.includes('.narinfo')).length).toBe(closure.length);
    // Together they are whole again.
    await using server = await startServe(['--from', host.cache('http'), '--upstream', upstream.url], nix);
    await withClient(server.url, [key.public, upstreamKey.public], async (client) => {
      await runNix(client, 'nix-store', '--realise', ...closure);
      await runNix(client, 'nix', 'store', 'verify', '--recursive', ...closure);
    });
  });

  it('spares the cache what it has, as a directory', async () => {
    const result = await publish('file', nix, '--upstream', `file://${directory}`);
    expect(result.exitCode).toBe(0);
    expect([...(readJson(result.stdout).pushed ?? [])].sort()).toEqual(missing());
  });

  it('is not asked about what its key has signed', async () => {
    const upstream = await serveDirectory();
    const config = join(nix.dir, 'keys.toml');
    await writeFile(config, `[[upstream]]\nurl = "${upstream.url}"\npublic_keys = ["${upstreamKey.public}"]\n`);
    await withClient(upstream.url, [upstreamKey.public], async (client) => {
      await runNix(client, 'nix-store', '--realise', ...there); // with the signatures
      upstream.requests.length = 0;
      const result = await nixcache(['push', ...there, '--to', host.cache('signed'), '--json', '--config', config], {
        env: { ...client.env, NIX_SIGNING_KEY: key.secret },
      });
      expect(result.exitCode).toBe(0);
      expect(readJson(result.stdout)).toMatchObject({ pushed: [], unknown: [] });
      expect([...readJson(result.stdout).upstream.paths].sort()).toEqual(there);
      expect(upstream.requests.filter((request) => request.includes('.narinfo'))).toEqual([]);
    });
  });

  it('that has gone leaves a cache which the next publish without it makes whole', async () => {
    // The one output is in the cache, and not what it refers to.
    const only = ['--only', 'packages.*.default'];
    const before = await publish('left', nix, '--upstream', `file://${directory}`, ...only);
    expect(before.exitCode).toBe(0);
    const after = await publish('left', nix, '--no-upstream', ...only);
    expect(after.exitCode).toBe(0);
    expect([...(readJson(after.stdout).pushed ?? [])].sort()).toEqual(there);
  });
});

describe('an upstream in trouble', () => {
  const DEAD = 'http://127.0.0.1:1';

  it('is warned of, and everything is published; or where that is wanted nothing is', async () => {
    const [result, stopped] = await Promise.all([
      publish('dead', nix, '--upstream', DEAD),
      publish('stopped', nix, '--upstream', DEAD, '--on-upstream-failure', 'fail'),
    ]);
    expect(result.exitCode).toBe(0);
    expect([...(readJson(result.stdout).pushed ?? [])].sort()).toEqual(closure);
    expect(readJson(result.stdout).unknown.length).toBe(closure.length);
    expect(result.stderr).toMatch(/^warning: 16 of 16 paths could not be looked up upstream .*refused/m);

    expect(stopped).toMatchObject({ exitCode: 5 });
    expect(JSON.parse(stopped.stdout)).toMatchObject({ pushed: [], error: { code: 'ERR_UPSTREAM' } });
    expect(stopped.stderr).toMatch(/^nixcache: .*nothing was published/m);
    expect(await host.tags('stopped')).toEqual([]);
    expect([...(await host.snapshot()).keys()].filter((file) => file.startsWith('stopped/blobs/'))).toEqual([]);
  });

  it('is waited for as long as it answers', async () => {
    const upstream = await serveDirectory();
    upstream.faults.delayMs = 1000;
    const publishing = publish('slow', nix, '--upstream', upstream.url);
    // All 16 paths at once, or nearly: not one after the other.
    await expect.poll(() => upstream.active()).toBeGreaterThan(8);
    expect([...(readJson((await publishing).stdout).pushed ?? [])].sort()).toEqual(missing());
  });

  it('that never answers, or only with errors, is given up in time', async () => {
    const giveUp = async (faults: Partial<FakeUpstream['faults']>): Promise<void> => {
      const upstream = await serveDirectory();
      Object.assign(upstream.faults, faults);
      const name = `unwell-${Object.keys(faults)[0]}`;
      const config = join(nix.dir, `${name}.toml`);
      await writeFile(config, `[[upstream]]\nurl = "${upstream.url}"\ntimeout = "1s"\n`);
      const result = await publish(name, nix, '--config', config);
      expect(result.exitCode).toBe(0);
      expect(readJson(result.stdout).pushed?.length).toBe(closure.length);
      expect(result.stderr).toMatch(/could not be looked up upstream/);
    };
    await Promise.all([giveUp({ hang: true }), giveUp({ status: 500 })]);
  });

  it('that answers HTML to everything is told from one that has paths', async () => {
    const upstream = await startFakeUpstream();
    for (const path of closure) upstream.files.set(`/${path.slice(11, 43)}.narinfo`, '<html>Welcome</html>\n');
    const result = await publish('portal', nix, '--upstream', upstream.url);
    expect(result.exitCode).toBe(0);
    expect(readJson(result.stdout).pushed?.length).toBe(closure.length);
    expect(result.stderr).toMatch(/could not be looked up upstream \(.*it has no StorePath, so it is no narinfo\)/);
  });
});
