import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { checkDisk } from '../../src/doctor/check-disk.ts';
import { checkIndex, type IndexCheckOptions } from '../../src/doctor/check-index.ts';
import { checkLayout } from '../../src/doctor/check-layout.ts';
import { checkNix, judgeTrust, usesSubstituter } from '../../src/doctor/check-nix.ts';
import { checkProxy, type ProxyCheckOptions } from '../../src/doctor/check-proxy.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { generateKey, parsePublicKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import { startServer } from '../../src/serve/node/server.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

const ours = generateKey('ours-1');
const theirs = generateKey('theirs-1');

/** Three paths, signed as told, with the public keys named. */
async function cacheOf(sign: 'well' | 'wrongly' | 'unknown' | 'not', keys: readonly string[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  const { tag } = await new CacheBuilder(store).publish({ at: day(0), paths: ['a', 'b', 'c'] });
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  const manifest = await store.fetchManifest(tag);
  const key = parseSecretKey(sign === 'unknown' ? theirs.secret : ours.secret);
  const entries = [...reader.entries()].map(({ entry }) => {
    const { narInfo } = entry;
    const signed = sign === 'wrongly' ? { ...narInfo, narSize: 1 } : narInfo;
    return { ...entry, narInfo: { ...narInfo, sigs: sign === 'not' ? [] : [signPathInfo(signed, key)] } };
  });
  const blobs = decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), tag).layers.slice(1);
  const now = day(1);
  await commitSegment(store, encodeSegment({ entries, blobs, storeDir: '/nix/store', creator: 'test', now }), {});
  await new CacheBuilder(store).publish({ at: day(2), publicKeys: keys });
  return store;
}

async function examine(store: MemoryStore, options: Partial<IndexCheckOptions> = {}): Promise<Record<string, Finding>> {
  const { findings } = await checkIndex({
    openReader: () => IndexReader.open({ store, strict: true }),
    signingKeys: async () => [],
    now: () => day(3),
    ...options,
  });
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
}

describe('the doctor, of the index', () => {
  it('finds a signed and recent one well', async () => {
    const store = await cacheOf('well', [ours.public]);
    const found = await examine(store, { signingKeys: async () => [parsePublicKey(ours.public)] });
    expect(Object.values(found).map(({ verdict }) => verdict)).toEqual(['ok', 'ok', 'ok', 'ok']);
    expect(found['index']?.message).toBe('3 entries in 3 segments, format 1');
    expect(found['age']?.message).toBe('the newest publish is 24 h old');
  });

  it('goes on past a public key that is none, and tells of it', async () => {
    const found = await examine(await cacheOf('well', ['broken-1:AAAA', ours.public]));
    expect(found['index']).toMatchObject({ verdict: 'warning', message: expect.stringContaining("'broken-1:AAAA'") });
    expect(found['signatures']).toMatchObject({ verdict: 'ok' });
  });

  it.each([
    ['wrongly', [ours.public], 'problem', 'wrong signature'],
    ['not', [ours.public], 'warning', 'no signature'],
    ['unknown', [ours.public], 'warning', 'no publisher named'],
  ] as const)('sees entries that are signed %s', async (sign, keys, verdict, message) => {
    const found = await examine(await cacheOf(sign, keys));
    expect(found['signatures']).toMatchObject({ verdict, message: expect.stringContaining(message) });
  });

  it.each([
    ['another key of the same name', [`ours-1:${theirs.public.split(':')[1]}`], 'problem'],
    ['a key that is new to the cache', [theirs.public], 'warning'],
    ['its own key', [theirs.public, ours.public], 'ok'],
  ] as const)('compares the signing key: %s', async (_, keys, verdict) => {
    const found = await examine(await cacheOf('well', keys), {
      signingKeys: async () => [parsePublicKey(ours.public)],
    });
    expect(found['key']?.verdict).toBe(verdict);
  });

  it.each([
    [day(40), 'warning', 'nothing was published for 38 days'],
    [day(1), 'warning', 'clock is wrong'],
  ])('minds the age of the newest publish on %s', async (now, verdict, message) => {
    const found = await examine(await cacheOf('well', []), { now: () => now });
    expect(found['age']).toMatchObject({ verdict, message: expect.stringContaining(message) });
  });

  it('says when the format is newer, and what to do', async () => {
    const store = await cacheOf('well', []);
    const [digest] = store.tags.values();
    if (digest) store.tags.set(`seg2-${'0'.repeat(26)}-${'0'.repeat(64)}`, digest);
    const found = await examine(store);
    expect(found['index']).toMatchObject({ verdict: 'problem', fix: 'install a newer nixcache' });
    expect(found['signatures']?.verdict).toBe('skipped');
  });

  it('finds a damaged index, and sends to verify', async () => {
    const store = await cacheOf('well', []);
    store.blobs.clear();
    expect((await examine(store))['index']).toMatchObject({
      verdict: 'problem',
      fix: expect.stringContaining('nixcache verify'),
    });
  });
});

const settings = (values: Readonly<Record<string, unknown>>): ReadonlyMap<string, unknown> =>
  new Map(Object.entries(values));
const serveUrl = 'http://127.0.0.1:37515';

describe('the doctor, of what Nix trusts', () => {
  const keys = [parsePublicKey(ours.public)];

  it.each([
    ['uses and trusts it', { substituters: [serveUrl], 'trusted-public-keys': [ours.public] }, 'ok'],
    [
      'names it localhost',
      { substituters: ['http://localhost:37515/?priority=3'], 'trusted-public-keys': [ours.public] },
      'ok',
    ],
    ['asks for no signatures', { substituters: [serveUrl], 'require-sigs': false }, 'ok'],
    ['uses it without its key', { substituters: [serveUrl], 'trusted-public-keys': [theirs.public] }, 'problem'],
    [
      'uses other caches',
      { substituters: ['https://cache.nixos.org'], 'trusted-public-keys': [ours.public] },
      'warning',
    ],
    ['writes lists as text', { substituters: `https://x ${serveUrl}`, 'trusted-public-keys': ours.public }, 'ok'],
  ])('judges a Nix that %s', (_, values, verdict) => {
    expect(judgeTrust({ settings: settings(values), publicKeys: keys, serveUrl })).toMatchObject({
      check: 'trust',
      verdict,
    });
  });

  it('gives the lines for nix.conf', () => {
    expect(judgeTrust({ settings: settings({}), publicKeys: keys, serveUrl }).fix).toBe(
      `add to nix.conf: extra-substituters = ${serveUrl} and extra-trusted-public-keys = ${ours.public}`,
    );
  });

  it('knows no Nix that is not there', async () => {
    const { settings: none, findings } = await checkNix(
      new NixCommand({ env: { PATH: '/nonexistent', HOME: '/nonexistent' } }),
    );
    if (none === undefined)
      expect(findings).toMatchObject([{ check: 'nix', verdict: 'problem', fix: expect.stringContaining('nixos.org') }]);
    else expect(findings[0]?.message).toMatch(/^Nix 2\./); // found in one of the usual places
    expect(usesSubstituter(undefined, serveUrl)).toBe(false);
    expect(judgeTrust({ settings: undefined, publicKeys: keys, serveUrl }).verdict).toBe('skipped');
  });
});

async function openCache(): Promise<{ store: MemoryStore; reader: IndexReader }> {
  const store = await cacheOf('well', [ours.public]);
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  return { store, reader };
}

function ask(options: Partial<ProxyCheckOptions>): Promise<Finding> {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  return checkProxy({ http, serveUrl, isExpected: false, cacheName: 'memory', reader: undefined, ...options });
}

describe('the doctor, of the proxy', () => {
  it('finds one that serves what the cache has well, and one that is behind not', async () => {
    const { store, reader } = await openCache();
    const served = await IndexReader.open({ store, strict: false });
    const server = await startServer({ reader: served, upstreams: [], port: 0, version: '1.2.3', indexTtlMs: 1e9 });
    onTestFinished(() => server.close());
    const asked = { serveUrl: server.url, reader };
    expect(await ask(asked)).toMatchObject({ verdict: 'ok', message: expect.stringContaining('1.2.3') });
    expect(await ask({ ...asked, cacheName: 'oci:/other' })).toMatchObject({
      verdict: 'warning',
      message: expect.stringContaining('serves memory, not oci:/other'),
    });
    await new CacheBuilder(store).publish({ at: day(3), paths: ['d'] });
    await reader.refresh();
    expect(await ask(asked)).toMatchObject({
      verdict: 'warning',
      message: expect.stringContaining('3 entries in 3 segments, the cache 4 in 4'),
      fix: expect.stringContaining('/_refresh'),
    });
  });

  it('minds that none runs only where one is expected', async () => {
    const nowhere = 'http://127.0.0.1:1';
    expect((await ask({ serveUrl: nowhere })).verdict).toBe('skipped');
    expect(await ask({ serveUrl: nowhere, isExpected: true })).toMatchObject({
      verdict: 'problem',
      fix: 'start it: nixcache serve',
    });
  });

  it.each(['<html>', '{}', ''])('knows what is no nixcache by its answer %j', async (body) => {
    const server = createServer((_, response) => response.end(body));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await ask({ serveUrl: url })).toMatchObject({
      verdict: 'problem',
      message: expect.stringContaining('no nixcache'),
    });
  });

  it('gives up soon on one that never answers', async () => {
    const server = createServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await ask({ serveUrl: url, isExpected: true })).toMatchObject({ verdict: 'problem' });
  }, 4000);
});

describe('the doctor, of files', () => {
  it('finds room for an index whose directory is not there yet', async () => {
    const directory = join(await tempDir(), 'a/b');
    const found = await checkDisk(directory);
    expect(found).toMatchObject({ check: 'disk', message: expect.stringContaining(directory) });
    expect(found.message).toMatch(/^\d+ MiB are free/);
  });

  it('sees that a file stands where the directory belongs', async () => {
    const file = join(await tempDir(), 'file');
    await writeFile(file, '');
    const verdict = (await checkDisk(join(file, 'index'))).verdict;
    expect(verdict).toBe('problem');
  });

  it('tells a layout that is there from one that is not', async () => {
    const path = await tempDir();
    const reference = { kind: 'layout', path } as const;
    expect(await checkLayout(reference)).toMatchObject({
      withoutIndex: 'nothing was published yet',
      findings: [{ verdict: 'warning' }],
    });
    await mkdir(join(path, 'cache'));
    await LayoutStore.open(join(path, 'cache'), { create: true });
    const found = await checkLayout({ kind: 'layout', path: join(path, 'cache') });
    expect(found).toMatchObject({
      withoutIndex: undefined,
      findings: [
        { check: 'pull', verdict: 'ok' },
        { check: 'push', verdict: 'ok' },
      ],
    });
  });
});
