/**
 * `kill -9` over and over, each time after another number of steps: after each, the cache is whole, and the next run goes
 * on where the last one was. Steps are changes of files or requests, so that no clock decides what is tried.
 * NIXCACHE_TEST_KILLS says how often each of them is killed; default 8.
 */
import { watch } from 'node:fs';
import { mkdir, readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { verifyNar } from '../../src/nar/nar-reader.ts';
import { decompressZstd } from '../../src/nar/zstd-frames.ts';
import { generateKey } from '../../src/nix/signature.ts';
import { hashPartOf, parseStorePath } from '../../src/nix/store-path.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { tossed } from '../model/coin.ts';
import { nixcache, startFreshServe, startNixcache, startServe } from '../support/e2e-cli.ts';
import { lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { openCache } from '../support/e2e-stores.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const KILLS = Number(process.env['NIXCACHE_TEST_KILLS'] ?? 8);
/** Longer means that it hangs: a run and its check take a second where nothing else runs. */
const TIMEOUT_MS = (KILLS + 5) * 60_000;
const key = generateKey('killed-1');

/** Paths of 3 MB among the packages. */
const LARGE = 5;
/** Some that take a while, and some that travel together, each with the one before below it. */
const packages = `rec {
  p0 = run "p-0" "head -c 3000000 /dev/urandom > $out";
${Array.from({ length: 11 }, (_, i) => `  p${i + 1} = run "p-${i + 1}" "head -c ${i % 3 ? 300 : 3_000_000} /dev/urandom > $out; echo \${p${i}} >> $out";`).join('\n')}
}`;

let nix: NixEnv;
let http: HttpClient;
/** Of the last package, which needs all others. */
let top: string;
let closure: readonly string[];

beforeAll(async () => {
  nix = await createNixEnv();
  http = new HttpClient();
  const flake = await writeFlake(join(nix.dir, 'flake'), packages);
  const scratch = `oci:${join(nix.dir, 'scratch')}`;
  const built = await nixcache(['publish', flake, '--to', scratch, '--no-upstream', '--json'], nix);
  const outputs = readJson(built.stdout).outputs.map((output) => output.outputs['out'] ?? '');
  top = outputs.find((path) => path.endsWith('-p-11')) ?? '';
  closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', top)).sort();
});
afterAll(async () => {
  await http.destroy();
  await nix.cleanup();
});

const env = (): Record<string, string> => ({ ...nix.env, NIX_SIGNING_KEY: key.secret });

/** Calls `onStep` at each step until it is disposed of. */
type Steps = (onStep: () => void) => Disposable;

/** Changes in `directory` and all below it. */
const changesBelow =
  (directory: string): Steps =>
  (onStep) => {
    const watcher = watch(directory, { recursive: true }, onStep);
    return { [Symbol.dispose]: () => watcher.close() };
  };

/**
 * Runs what `args` gives until it was killed KILLS times, each time after another number of `steps` or done before;
 * `check` after each. `isServing`: it ends only when it is killed, at the latest once it has said something.
 */
async function killOften(
  args: () => readonly string[],
  steps: Steps,
  check: () => Promise<void>,
  { onDone = async () => undefined, isServing = false }: { onDone?: () => Promise<void>; isServing?: boolean } = {},
): Promise<void> {
  const coin = tossed();
  let longest = 20;
  for (let killed = 0; killed < KILLS; ) {
    const after = coin.next(longest);
    let seen = 0;
    let isDone = false;
    await using running = startNixcache(args(), { env: env() });
    using _steps = steps(() => {
      seen += 1;
      if (seen > after) running.signal('SIGKILL');
    });
    if (isServing) {
      const end = (): void => {
        isDone = true;
        running.signal('SIGKILL');
      };
      void running.said('serving').then(end, () => undefined);
    }
    const { signal, exitCode, stderr } = await running.result;
    if (signal === 'SIGKILL') killed += 1;
    else expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    // Longer, until a run is done before: then as long as that.
    longest = signal === 'SIGKILL' && !isDone ? Math.ceil(longest * 1.3) : Math.max(10, seen);
    await check();
    if (signal !== 'SIGKILL') await onDone();
  }
}

/** Fails unless a strict reader reads all, and every entry opens with the bytes it names. Gives how many there are. */
async function expectWhole(store: ContentStore): Promise<number> {
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  let entries = 0;
  for (const { entry } of reader.entries()) {
    const { narHash } = await verifyNar(decompressZstd(await reader.openNar(entry)));
    expect(narHash, entry.narInfo.path).toBe(entry.narInfo.narHash);
    for (const reference of entry.narInfo.references) expect(reader.has(hashPartOf(reference)), reference).toBe(true);
    entries += 1;
  }
  return entries;
}

async function expectComplete(cache: string): Promise<void> {
  const store = await openCache(cache, http);
  expect(await expectWhole(store)).toBe(closure.length);
  await using server = await startFreshServe(['--from', cache, '--no-upstream'], nix);
  expect(await substitute(server.url, [key.public], [top])).toEqual(closure);
}

/** What killed publishers left in TMPDIR is removed by the next one a day later. */
async function expectSpoolsRemoved(cache: string): Promise<void> {
  const directory = join(nix.dir, 'tmp');
  const spools = async (): Promise<string[]> =>
    (await filesOf(directory)).filter((name) => name.startsWith('nixcache-spool-'));
  const left = await spools();
  const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000);
  await mkdir(join(directory, 'nixcache-spool-left'), { recursive: true });
  left.push('nixcache-spool-left');
  for (const name of left) await utimes(join(directory, name), yesterday, yesterday);
  const path = closure.find((each) => each.endsWith('-p-0')) ?? '';
  const pushed = await nixcache(['push', path, '--to', cache, '--no-upstream', '--quiet'], { env: env() });
  expect(pushed).toMatchObject({ exitCode: 0 });
  expect(await spools()).toEqual([]);
}

const filesOf = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);

describe('a publisher that is killed', () => {
  it('leaves a whole layout, and the next one finishes', { timeout: TIMEOUT_MS }, async () => {
    let number = 0;
    const layouts = join(nix.dir, 'layouts');
    await mkdir(layouts);
    const path = (): string => join(layouts, `${number}`);
    const push = (): string[] => ['push', top, '--to', `oci:${path()}`, '--no-upstream', '--quiet'];
    const check = async (): Promise<void> => {
      if (!(await filesOf(path())).includes('oci-layout')) return;
      const store = await openCache(`oci:${path()}`, http);
      await expectWhole(store);
      for (const tag of await store.listTags()) {
        await execa('skopeo', ['inspect', '--raw', `oci:${path()}:${tag}`], { timeout: 20_000 });
      }
    };
    const next = async (): Promise<void> => {
      expect(await expectWhole(await openCache(`oci:${path()}`, http))).toBe(closure.length);
      number += 1;
    };
    await killOften(push, changesBelow(layouts), check, { onDone: next });
    expect(await nixcache(push(), { env: env() })).toMatchObject({ exitCode: 0 });
    await expectComplete(`oci:${path()}`);
  });

  it('leaves a whole registry, and the next one sends nothing again that arrived', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const registry = await FakeRegistry.start({ latencyMs: 40 });
    try {
      let number = 0;
      const cache = (): string => `${registry.host}/killed/cache-${number}`;
      const push = (): string[] => ['push', top, '--to', cache(), '--no-upstream', '--quiet'];
      const requests: Steps = (onStep) => {
        registry.luck = () => void onStep();
        return { [Symbol.dispose]: () => registry.calm() };
      };
      await killOften(push, requests, async () => void (await expectWhole(await openCache(cache(), http))), {
        onDone: async () => {
          number += 1;
        },
      });
      expect(await nixcache(push(), { env: env() })).toMatchObject({ exitCode: 0 });
      await expectComplete(cache());
      const uploads = largeUploads(registry);
      expect([...uploads.values()].filter((times) => times > 1)).toEqual([]);
      expect(uploads.size).toBe(LARGE * (number + 1));
      await expectSpoolsRemoved(`${registry.host}/other/cache`);
    } finally {
      await registry.close();
    }
  });
});

/** How often each large blob was stored in each repository. */
function largeUploads({ requests }: FakeRegistry): ReadonlyMap<string, number> {
  const uploads = new Map<string, number>();
  for (const { method, path, status, headers } of requests) {
    if (method !== 'PUT' || status !== 201 || Number(headers['content-length']) < 1_000_000) continue;
    const [, repository, digest] = /^\/v2\/(.+)\/blobs\/uploads\/.*digest=([^&]+)/.exec(path) ?? [];
    if (digest !== undefined) uploads.set(`${repository} ${digest}`, (uploads.get(`${repository} ${digest}`) ?? 0) + 1);
  }
  return uploads;
}

describe('a gc that is killed', () => {
  it('leaves a whole cache, and the next one finishes', { timeout: TIMEOUT_MS }, async () => {
    const path = join(nix.dir, 'collected');
    const cache = `oci:${path}`;
    const paths = closure.map((each) => parseStorePath(each));
    for (const each of [...paths.slice(0, 3), top]) {
      const pushed = await nixcache(['push', each, '--to', cache, '--no-upstream', '--quiet'], { env: env() });
      expect(pushed).toMatchObject({ exitCode: 0 });
    }
    const store = await openCache(cache, http);
    const gc = ['gc', '--cache', cache, '--retain', '1h', '--grace', '0s', '--quiet'];
    let runs = 0;
    await killOften(
      () => {
        runs += 1;
        // Something to collect: pins come and go.
        return runs % 2
          ? gc
          : [
              'push',
              paths[runs % paths.length] ?? top,
              '--name',
              `r${runs}`,
              '--to',
              cache,
              '--no-upstream',
              '--quiet',
            ];
      },
      changesBelow(path),
      async () => void expect(await expectWhole(store)).toBe(closure.length),
    );
    expect(await nixcache(gc, { env: env() })).toMatchObject({ exitCode: 0 });
    await delay(1100);
    expect(await nixcache(gc, { env: env() })).toMatchObject({ exitCode: 0 });
    await expectComplete(cache);
    // A checkpoint, its record, what it lists, and the index: not one for every gc that was killed.
    expect((await store.listTags()).length).toBeLessThan(30);
  });
});

describe('a server that is killed', () => {
  it('starts again at once with what it knew, whatever was left of its index', { timeout: TIMEOUT_MS }, async () => {
    const cache = `oci:${join(nix.dir, 'served')}`;
    expect(await nixcache(['push', top, '--to', cache, '--no-upstream', '--quiet'], { env: env() })).toMatchObject({
      exitCode: 0,
    });
    const index = join(nix.dir, 'index');
    await mkdir(index);
    let number = 0;
    await killOften(
      () => ['serve', '--port', '0', '--from', cache, '--no-upstream', '--index-dir', index],
      changesBelow(index),
      async () => {
        number += 1;
        // What is served changes as well: a segment more each time.
        if (number % 4 === 0)
          await nixcache(['push', top, '--name', `r${number}`, '--to', cache, '--no-upstream', '--quiet'], {
            env: env(),
          });
      },
      { isServing: true },
    );
    await using server = await startServe(['--from', cache, '--no-upstream', '--index-dir', index], nix);
    expect(await substitute(server.url, [key.public], [top])).toEqual(closure);
    const unfinished = (await filesOf(index)).filter((name) => name.startsWith('.'));
    expect(unfinished.length).toBeLessThan(50);
  });
});
