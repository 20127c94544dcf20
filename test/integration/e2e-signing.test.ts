/** A key that comes after the cache: what is there gets signed, and clients that want signatures take it. */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { CACHE_KINDS, type CacheHost } from '../support/e2e-caches.ts';
import { type CliResult, nixcache, startFreshServe } from '../support/e2e-cli.ts';
import { EXAMPLE, lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const late = generateKey('late-1');
const next = generateKey('next-1');

let nix: NixEnv;
let empty: NixEnv;
beforeAll(async () => {
  [nix, empty] = await Promise.all([createNixEnv(), createNixEnv()]);
});
afterAll(() => Promise.all([nix.cleanup(), empty.cleanup()]));

const run = (
  args: readonly string[],
  keys: readonly { readonly secret: string }[] = [],
  on = nix,
): Promise<CliResult> => {
  const [key] = keys;
  return nixcache(args, { env: { ...on.env, ...(key ? { NIX_SIGNING_KEY: key.secret } : {}) } });
};
const publishTo = (cache: string, ...more: string[]) => [
  'publish',
  EXAMPLE,
  '--to',
  cache,
  '--no-upstream',
  '--json',
  ...more,
];
const closureOf = async (paths: readonly string[]): Promise<string[]> =>
  lines(await runNix(nix, 'nix-store', '--query', '--requisites', ...paths)).sort();

describe.each(CACHE_KINDS)('in $name', ({ start }) => {
  let host: CacheHost;
  beforeAll(async () => {
    host = await start();
  });
  afterAll(() => host.stop());

  it('first without a key, then with one, then with another: each signs all, nothing is uploaded again', async () => {
    const cache = host.cache('late');
    const first = await run(publishTo(cache));
    expect(first).toMatchObject({ exitCode: 0 });
    const { pushed = [] } = readJson(first.stdout);
    const before = await host.snapshot();
    const verified = await run(['verify', '--cache', cache, '--no-upstream']);
    expect(verified).toMatchObject({ exitCode: 0 });
    expect(verified.stdout).toContain('unsigned-cache');

    const second = await run(publishTo(cache, '--require-signing'), [late]);
    expect(second).toMatchObject({ exitCode: 0 });
    const told = readJson(second.stdout) as unknown as { signed: string[]; unsigned: string[] };
    expect(told.signed.toSorted()).toEqual(pushed.toSorted());
    expect(told).toMatchObject({ pushed: [], unsigned: [] });
    expect(second.stderr).toContain(`signed ${pushed.length} paths that the cache had, without upload`);
    expect(second.stderr).not.toMatch(/^building /m);
    const added = [...(await host.snapshot())].filter(([file, hash]) => before.get(file) !== hash);
    // Entries, config and manifest of a segment, cache-index; and what a store keeps beside them.
    expect(added.filter(([file]) => /blobs\/sha256\//.test(file) && !/link$/.test(file)).length).toBeLessThanOrEqual(4);

    await using server = await startFreshServe(['--from', cache, '--no-upstream'], nix);
    expect(await substitute(server.url, [late.public], pushed)).toEqual(await closureOf(pushed));
    expect(await (await fetch(`${server.url}/public-key`)).text()).toBe(`${late.public}\n`);

    // Another machine has only what the cache says: with both keys it may sign that too.
    const files = [late, next].map(({ public: text }) =>
      join(nix.dir, `${text.slice(0, 6)}-${host.cache('k').length}`),
    );
    for (const [i, key] of [late, next].entries()) await writeFile(files[i] ?? '', key.secret, { mode: 0o600 });
    const keyFiles = files.flatMap((file) => ['--key-file', file]);
    const third = await run(publishTo(cache, ...keyFiles), [], empty);
    expect(third).toMatchObject({ exitCode: 0 });
    expect(readJson(third.stdout)).toMatchObject({ pushed: [], signed: { length: pushed.length } });
    expect(third.stderr).not.toMatch(/^building /m);
    const asked = await fetch(`${server.url}/_refresh`, { method: 'POST' });
    expect(asked.status).toBe(200);
    for (const key of [late, next]) {
      expect(await substitute(server.url, [key.public], pushed)).toEqual(await closureOf(pushed));
    }
    expect(await run(['verify', '--cache', cache, '--no-upstream', '--contents'])).toMatchObject({ exitCode: 0 });
  });

  it('what somebody else put there unsigned is built again, not signed, and keeps nothing out', async () => {
    const cache = host.cache('forged');
    // Not reproducible, as many builds are not: the other machine's is another one.
    const name = `unequal-${randomBytes(4).toString('hex')}`;
    const package_ = `run "${name}" "cat /proc/sys/kernel/random/uuid > $out"`;
    const flake = await writeFlake(join(nix.dir, name), `{ unequal = ${package_}; }`);
    const args = ['publish', flake, '--to', cache, '--no-upstream', '--json'];
    const forged = await run(args, [], empty);
    expect(forged).toMatchObject({ exitCode: 0 });
    const [path = ''] = readJson(forged.stdout).pushed ?? [];
    const genuine = await run([...args, '--require-signing'], [late]);
    expect(genuine).toMatchObject({ exitCode: 0 });
    expect(readJson(genuine.stdout)).toMatchObject({ pushed: [path], signed: [] });
    expect(genuine.stderr).toMatch(/has packages\.x86_64-linux\.unequal, but without the signature of late-1/);
    await using server = await startFreshServe(
      ['--from', cache, '--no-upstream', '--trusted-public-key', late.public],
      nix,
    );
    expect(await substitute(server.url, [late.public], [path])).toEqual([path]);
    const narInfo = await (await fetch(`${server.url}/${path.slice(11, 43)}.narinfo`)).text();
    const ours = await runNix(nix, 'nix-store', '--query', '--hash', path);
    expect(narInfo).toContain(`NarHash: ${ours}`);
  });

  it('what is pushed without the key is warned of, then and by verify, until the key has signed it', async () => {
    const cache = host.cache('mixed');
    const file = join(nix.dir, 'mixed');
    const paths: string[] = [];
    for (const name of ['one', 'two']) {
      await mkdir(`${file}-${name}`, { recursive: true });
      await writeFile(join(`${file}-${name}`, name), randomBytes(1000));
      paths.push((await runNix(nix, 'nix-store', '--add', join(`${file}-${name}`, name))).trim());
    }
    const [one = '', two = ''] = paths;
    const to = ['--to', cache, '--no-upstream'];
    expect(await run(['push', one, ...to], [late])).toMatchObject({ exitCode: 0 });
    const unsigned = await run(['push', two, ...to]);
    expect(unsigned).toMatchObject({ exitCode: 0 });
    expect(unsigned.stderr).toMatch(/is signed by late-1, and what is pushed now is not/);
    const verify = (...more: string[]) => run(['verify', '--cache', cache, '--no-upstream', ...more]);
    const warned = await verify();
    expect(warned).toMatchObject({ exitCode: 0 });
    expect(warned.stdout).toMatch(/^warning: unsigned \(1\)/m);
    // Who says whom he trusts is told what clients of that key refuse.
    expect(await verify('--trusted-public-key', late.public)).toMatchObject({ exitCode: 4 });
    const signatures = async (): Promise<string> =>
      (await run(['doctor', '--cache', cache, '--no-upstream'], [late])).stdout
        .match(/^.*signature.*$/gm)
        ?.join('\n') ?? '';
    expect(await signatures()).toMatch(/1 of 2 entries have no signature/);
    expect(await run(['push', two, ...to], [late])).toMatchObject({ exitCode: 0 });
    expect(await verify('--trusted-public-key', late.public)).toMatchObject({ exitCode: 0 });
    expect((await verify()).stdout).not.toContain('unsigned');
    expect(await signatures()).toMatch(/all 2 entries have valid signatures/);
  });
});

it('is one upload of entries on a registry that counts, and none of a NAR', async () => {
  const registry = await FakeRegistry.start();
  try {
    const cache = `${registry.host}/late`;
    expect(await run(publishTo(cache))).toMatchObject({ exitCode: 0 });
    const from = registry.requests.length;
    expect(await run(publishTo(cache), [late])).toMatchObject({ exitCode: 0 });
    const since = registry.requests.slice(from);
    const writes = since.filter(({ method, status }) => method !== 'GET' && method !== 'HEAD' && status < 300);
    const count = (part: string): number => writes.filter(({ path }) => path.includes(part)).length;
    // Of the segment, and cache-index.
    expect(count('/manifests/')).toBe(2);
    const blobs = writes.filter(
      ({ path, method }) => path.includes('/blobs/') && /digest=/.test(path) && method !== 'PATCH',
    );
    expect(blobs).toHaveLength(2);
  } finally {
    await registry.close();
  }
});
