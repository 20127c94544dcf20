/** `gc` after publishes of two versions: what goes, what stays, and what it frees. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { type CacheHost, startLayouts, startRegistry } from '../support/e2e-caches.ts';
import { nixcache, startFreshServe } from '../support/e2e-cli.ts';
import { readJson, runNix, substitute, withClient, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('gc-1');
/** Times in the cache are whole seconds: what was published before is older than this when it is collected. */
const RETAIN = '1s';

/** 3 MiB that do not compress, of `version` alone, and something that all versions share. */
const packages = (version: string): string => `rec {
  shared = run "shared" "echo shared > $out";
  big = run "big-${version}" "head -c 3000000 /dev/urandom > $out; echo \${shared} ${version} >> $out";
  small = run "small-${version}" "echo \${shared} ${version} > $out";
}`;

async function bytesBelow(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

interface Storage {
  readonly host: CacheHost;
  /** Bytes on disk once everything has had its turn. */
  readonly measure: () => Promise<number>;
}

const KINDS: readonly { readonly name: string; readonly start: () => Promise<Storage> }[] = [
  {
    name: 'an image layout',
    start: async () => {
      const host = await startLayouts();
      return { host, measure: () => bytesBelow(host.cache('main').slice('oci:'.length)) };
    },
  },
  {
    name: 'docker-registry',
    start: async () => {
      const host = await startRegistry();
      const measure = async (): Promise<number> => {
        await host.registry.collectGarbage();
        return bytesBelow(join(host.registry.directory, 'data'));
      };
      return { host, measure };
    },
  },
];

describe.each(KINDS)('gc of $name', ({ start }) => {
  let storage: Storage;
  let nix: NixEnv;
  let old: readonly string[];
  let kept: readonly string[];

  const publish = async (version: string): Promise<readonly string[]> => {
    const flake = await writeFlake(join(nix.dir, 'flake'), packages(version));
    const result = await nixcache(['publish', flake, '--to', storage.host.cache('main'), '--no-upstream', '--json'], {
      env: { ...nix.env, NIX_SIGNING_KEY: key.secret },
    });
    expect(result).toMatchObject({ exitCode: 0 });
    return readJson(result.stdout).outputs.map(({ outputs }) => outputs['out'] ?? '');
  };
  const gc = (...args: string[]) =>
    nixcache(['gc', '--cache', storage.host.cache('main'), '--json', ...args], { env: nix.env });

  beforeAll(async () => {
    [storage, nix] = await Promise.all([start(), createNixEnv()]);
    const first = await publish('v1');
    await delay(2100);
    kept = await publish('v2');
    old = first.filter((path) => !kept.includes(path));
  });
  afterAll(() => Promise.all([storage.host.stop(), nix.cleanup()]));

  it('keeps everything within the retention', async () => {
    const result = await gc('--retain', '30d');
    expect(result.exitCode).toBe(0);
    expect(JSON.parse(result.stdout)).toMatchObject({ kept: { entries: 5 }, dropped: { entries: 0 } });
  });

  it('changes nothing in a dry run', async () => {
    const before = await storage.host.snapshot();
    const result = await gc('--retain', RETAIN, '--grace', '0s', '--dry-run');
    expect(result.exitCode).toBe(0);
    const { dropped } = JSON.parse(result.stdout) as { dropped: { paths: { path: string }[] } };
    expect(dropped.paths.map(({ path }) => path).sort()).toEqual([...old].sort());
    expect(await storage.host.snapshot()).toEqual(before);
  });

  it('drops what only old publishes need, and frees its bytes', async () => {
    const before = await storage.measure();
    const tagsBefore = await storage.host.tags('main');
    const first = await gc('--retain', RETAIN, '--grace', '0s');
    expect(first.stderr).toMatch(/grace period of 0 s is safe only while nothing else writes/);
    expect(first.exitCode).toBe(0);
    expect(JSON.parse(first.stdout)).toMatchObject({ kept: { entries: 3 }, dropped: { entries: 2 } });
    // Once the grace period of what the first run replaced has run out, whatever the rounding.
    const sizeAfterAnother = async (): Promise<number> => {
      expect(await gc('--retain', RETAIN, '--grace', '0s')).toMatchObject({ exitCode: 0 });
      return await storage.measure();
    };
    await expect.poll(sizeAfterAnother, { timeout: 60_000, interval: 500 }).toBeLessThan(before - 2_900_000);
    expect(await storage.measure()).toBeGreaterThan(3_000_000);
    const tags = await storage.host.tags('main');
    expect(tagsBefore.filter((tag) => tag.startsWith('seg-') && tags.includes(tag))).toEqual([]);

    await using server = await startFreshServe(['--from', storage.host.cache('main'), '--no-upstream'], nix);
    expect(await substitute(server.url, [key.public], kept)).toEqual([...kept].sort());
    await withClient(server.url, [key.public], async (client) => {
      for (const path of old) {
        await expect(runNix(client, 'nix-store', '--realise', path)).rejects.toThrow(
          /does not exist|don't know|no substituter/,
        );
      }
    });
  });

  it('leaves a cache that is published into as before', async () => {
    const again = await publish('v1');
    expect(again).toEqual(
      [...kept.filter((path) => path.includes('shared')), ...old].sort((a, b) => again.indexOf(a) - again.indexOf(b)),
    );
    await using server = await startFreshServe(['--from', storage.host.cache('main'), '--no-upstream'], nix);
    const all = [...new Set([...kept, ...again])];
    expect(await substitute(server.url, [key.public], all)).toEqual(all.sort());
  });
});
