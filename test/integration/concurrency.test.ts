/** Eight publishers at once into one cache, by themselves and with a gc among them: nothing is lost, everything is whole. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { readCatalog } from '../../src/catalog/catalog.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { verifyNar } from '../../src/nar/nar-reader.ts';
import { decompressZstd } from '../../src/nar/zstd-frames.ts';
import { generateKey } from '../../src/nix/signature.ts';
import { hashPartOf, nameOf, parseStorePath } from '../../src/nix/store-path.ts';
import { CACHE_KINDS, type CacheHost } from '../support/e2e-caches.ts';
import { nixcache, startFreshServe } from '../support/e2e-cli.ts';
import { lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { openCache } from '../support/e2e-stores.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const PUBLISHERS = 8;
const key = generateKey('many-1');

/** Each application needs two of the libraries, and each library the base: closures overlap, and none contains another. */
const packages = `rec {
  base = run "base" "head -c 700000 /dev/urandom > $out";
${Array.from({ length: PUBLISHERS }, (_, i) => `  lib${i} = run "lib-${i}" "head -c 90000 /dev/urandom > $out; echo \${base} >> $out";`).join('\n')}
${Array.from({ length: PUBLISHERS }, (_, i) => `  app${i} = run "app-${i}" "echo ${i} \${lib${i}} \${lib${(i + 1) % PUBLISHERS}} > $out";`).join('\n')}
}`;

let nix: NixEnv;
let apps: readonly string[];
/** By path, as Nix's database has it: the hash of its NAR. */
let hashes: ReadonlyMap<string, string>;

beforeAll(async () => {
  nix = await createNixEnv();
  const flake = await writeFlake(join(nix.dir, 'flake'), packages);
  const scratch = `oci:${join(nix.dir, 'scratch')}`;
  const built = await nixcache(['publish', flake, '--to', scratch, '--no-upstream', '--json'], nix);
  const outputs = readJson(built.stdout).outputs.map((output) => output.outputs['out'] ?? '');
  apps = outputs.filter((path) => path.includes('-app-')).sort();
  const closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', ...apps));
  const narHashes = lines(await runNix(nix, 'nix-store', '--query', '--hash', ...closure));
  hashes = new Map(closure.map((path, i) => [path, narHashes[i] ?? '']));
});
afterAll(() => nix.cleanup());

const env = (): Record<string, string> => ({ ...nix.env, NIX_SIGNING_KEY: key.secret });

/** Each in a process of its own, all at once; the reports of those that must have succeeded. */
async function publishAll(cache: string): Promise<void> {
  const results = await Promise.all(
    apps.map((app) => nixcache(['push', app, '--to', cache, '--no-upstream', '--quiet'], { env: env() })),
  );
  expect(results.filter(({ exitCode }) => exitCode !== 0)).toEqual([]);
}

/** Fails unless every path of every publisher is there with its bytes, every root is recorded, and Nix takes it all. */
async function expectWhole(cache: string): Promise<void> {
  const http = new HttpClient();
  try {
    const store = await openCache(cache, http);
    const reader = await IndexReader.open({ store, strict: true });
    const { roots } = await readCatalog({
      store,
      reader,
      onWarning: (message) => {
        throw new Error(message);
      },
    });
    expect(new Set(roots.map(({ name }) => name))).toEqual(new Set(apps.map((path) => nameOf(parseStorePath(path)))));
    for (const [path, narHash] of hashes) {
      const entry = reader.findEntry(hashPartOf(parseStorePath(path)));
      if (!entry) throw new Error(`${path} was lost`);
      expect((await verifyNar(decompressZstd(await reader.openNar(entry)))).narHash, path).toBe(narHash);
    }
    expect(reader.status().entries).toBe(hashes.size);
  } finally {
    await http.destroy();
  }
  await using server = await startFreshServe(['--from', cache, '--no-upstream'], nix);
  expect(await substitute(server.url, [key.public], apps)).toEqual([...hashes.keys()].sort());
}

describe.each(CACHE_KINDS)('eight publishers at once into $name', ({ start }) => {
  let host: CacheHost;
  beforeAll(async () => {
    host = await start();
  });
  afterAll(() => host.stop());

  it('lose nothing', async () => {
    const cache = host.cache('many');
    await publishAll(cache);
    await expectWhole(cache);
    // All of them again: nothing is left to do, and that is found out at once as well.
    await publishAll(cache);
    await expectWhole(cache);
  });

  it('lose nothing while gc runs over and over among them', async () => {
    const cache = host.cache('collected');
    expect(
      await nixcache(['push', apps[0] ?? '', '--to', cache, '--no-upstream', '--quiet'], { env: env() }),
    ).toMatchObject({ exitCode: 0 });
    let publishing = true;
    let runs = 0;
    const collecting = (async () => {
      while (publishing) {
        const { exitCode, stderr } = await nixcache(
          ['gc', '--cache', cache, '--retain', '10m', '--grace', '1h', '--quiet'],
          nix,
        );
        // Too much going on is an answer; that something cannot be read is none.
        if (exitCode !== 0) expect(stderr).toMatch(/run gc again when less is going on/);
        runs += 1;
      }
    })();
    try {
      await publishAll(cache);
    } finally {
      publishing = false;
      await collecting;
    }
    expect(runs).toBeGreaterThan(0);
    await expectWhole(cache);
    const last = await nixcache(['gc', '--cache', cache, '--retain', '10m', '--grace', '1h', '--json'], nix);
    expect(JSON.parse(last.stdout)).toMatchObject({ dropped: { entries: 0 }, kept: { entries: hashes.size } });
    await expectWhole(cache);
  });
});
