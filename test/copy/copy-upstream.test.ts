/** Copies out of binary caches: what is taken, what is refused, and what a killed copy leaves. */
import { readdir } from 'node:fs/promises';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { describe, expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { fetchRecords } from '../../src/cache/read/stored-records.ts';
import type { CopyReport } from '../../src/copy/copy-options.ts';
import { type CopyUpstreamOptions, copyUpstream } from '../../src/copy/copy-upstream.ts';
import { NixcacheError } from '../../src/errors.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { parseNarListing } from '../../src/nar/nar-listing.ts';
import type { NixHash } from '../../src/nix/hash.ts';
import type { NarInfo } from '../../src/nix/nar-info.ts';
import { findSigner, generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { type StorePath, toStorePath } from '../../src/nix/store-path.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { type BinaryCachePath, binaryCacheFiles, narFor, writeBinaryCache } from '../support/binary-cache.ts';
import { readAll } from '../support/bytes.ts';
import {
  assertSegmentsReachable,
  baseNameFor,
  CacheBuilder,
  hashPartFor,
  namesIn,
  openReader,
  readView,
} from '../support/cache-builder.ts';
import { type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

const key = parseSecretKey(generateKey('upstream-1').secret);
const own = parseSecretKey(generateKey('own-1').secret);
const pathOf = (name: string): StorePath => toStorePath(baseNameFor(name));

function upstreamAt(url: string): Upstream {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const patience = { ...PROMPT, retry: { ...PROMPT.retry, baseDelayMs: 1 } };
  return new Upstream(parseUpstream(url), { http, patience });
}

async function copy(
  url: string,
  destination: ContentStore,
  options: Partial<CopyUpstreamOptions> = {},
): Promise<CopyReport> {
  return copyUpstream({
    ...{ destination, source: upstreamAt(url), storeDir: '/nix/store', paths: undefined, keys: [], trustedKeys: [] },
    reader: await IndexReader.open({ store: destination, strict: true }),
    ...{ jobs: 3, dryRun: false, creator: 'test', run: 'run-1', onEvent: () => undefined, now: () => day(1) },
    ...options,
  });
}

const PATHS: readonly BinaryCachePath[] = [
  { name: 'libc', compression: 'xz', key },
  { name: 'lib', references: ['libc'], compression: 'zstd', bytes: 300_000, key },
  { name: 'app', references: ['lib', 'app', 'elsewhere'], compression: 'none', key },
  { name: 'doc', compression: 'gzip', key },
  { name: 'man', compression: 'br', bytes: 100_000, key },
];
const ALL = ['app', 'doc', 'lib', 'libc', 'man'];

const directory = async (paths: readonly BinaryCachePath[] = PATHS): Promise<string> =>
  writeBinaryCache(await tempDir(), binaryCacheFiles(paths));

async function httpCache(paths: readonly BinaryCachePath[] = PATHS): Promise<FakeUpstream> {
  const upstream = await startFakeUpstream();
  for (const [name, bytes] of binaryCacheFiles(paths)) upstream.files.set(`/${name}`, bytes);
  return upstream;
}

const DECOMPRESS: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  xz: (bytes) => xz.decompressSync(bytes),
  zstd: (bytes) => zstdDecompressSync(bytes),
  gzip: (bytes) => gunzipSync(bytes),
  br: (bytes) => brotliDecompressSync(bytes),
  none: (bytes) => bytes,
};

async function expectReadable(store: ContentStore, paths: readonly BinaryCachePath[]): Promise<void> {
  const reader = await openReader(store);
  for (const { name, bytes, compression = 'xz' } of paths) {
    const entry = reader.findEntry(hashPartFor(name));
    if (!entry) throw new Error(`${name} is not there`);
    expect(entry.narInfo.compression).toBe(compression);
    const nar = DECOMPRESS[compression]?.(await readAll(await reader.openNar(entry)));
    expect(nar?.equals(narFor(name, bytes))).toBe(true);
    const root = parseNarListing(String(await reader.fetchListing(entry)));
    expect(root).toMatchObject({ type: 'regular', size: bytes ?? 100 });
    expect(findSigner(entry.narInfo, [key.publicKey])).toBeDefined();
  }
}

/** Who of `key` and `own` signed what `store` has as `name`. */
const signersOf = async (store: ContentStore, name: string): Promise<string[]> => {
  const narInfo = (await openReader(store)).findEntry(hashPartFor(name))?.narInfo;
  return [key, own].filter(({ publicKey }) => narInfo && findSigner(narInfo, [publicKey])).map((each) => each.name);
};

describe('what the destination has unsigned', () => {
  const unsigned = PATHS.map(({ key: _none, ...path }): BinaryCachePath => path);
  const pushes: string[] = [];
  const filled = async (paths = unsigned): Promise<MemoryStore> => {
    const store = new MemoryStore({
      onCall: (method, args) => {
        if (method === 'pushBlob')
          pushes.push((args[0] as { mediaType: string }).mediaType.replace(/.*nixcache\./, ''));
      },
    });
    await copy(await directory(paths), store);
    pushes.length = 0;
    return store;
  };

  it('gets the signatures that are wanted, without upload, once', async () => {
    const store = await filled();
    const options = { keys: [own], trustedKeys: [key.publicKey], now: () => day(2) };
    expect(await copy(await directory(), store, options)).toMatchObject({
      copied: { paths: 0 },
      existed: { paths: 5 },
    });
    for (const name of ALL) expect(await signersOf(store, name)).toEqual(['upstream-1', 'own-1']);
    expect(pushes).toEqual(['entries.v1+zstd', 'segment.config.v1+json']);
    await expectReadable(store, PATHS);
    await copy(await directory(), store, options);
    expect(pushes).toHaveLength(2);
  });

  it('makes way for what a trusted key signed, where it is something else', async () => {
    const store = await filled([{ name: 'lib', bytes: 1000, compression: 'zstd' }]);
    const report = await copy(await directory(), store, { trustedKeys: [key.publicKey], now: () => day(2) });
    expect(report).toMatchObject({ copied: { paths: 5 }, existed: { paths: 1 } });
    await expectReadable(store, PATHS);
  });

  it('stays where the source has nothing better', async () => {
    const store = await filled();
    const report = await copy(await directory(unsigned), store, { trustedKeys: [key.publicKey] });
    expect(report).toMatchObject({ copied: { paths: 0 }, existed: { paths: 5 }, refused: [] });
    expect(pushes).toEqual([]);
  });
});

describe('a gc at the same time', () => {
  /** What is there of day 0 is dropped on day 40, just before the copy's segment is named, which relies on it. */
  it.each([
    ['is made good from what it dropped', false],
    ['is made good from the source, where that is gone too', true],
  ])('%s', async (_, isGone) => {
    let isDue = false;
    const store: MemoryStore = new MemoryStore({
      onCall: async (method, [tag]) => {
        if (!isDue || method !== 'pushManifest' || !String(tag).startsWith('seg-')) return;
        isDue = false;
        await gcAt(store, day(40));
        if (isGone) await gcAt(store, day(42));
      },
    });
    await copy(await directory(PATHS.slice(0, 1)), store, { now: () => day(0) });
    // Of the same source: what the earlier one named is not kept for that.
    await copy(await directory(), store, { paths: [pathOf('doc')], now: () => day(1), run: 'run-2' });
    isDue = true;
    await copy(await directory(), store, { paths: [pathOf('app')], now: () => day(40) });
    expect(isDue).toBe(false);
    await expectReadable(store, PATHS.slice(0, 3));
    await assertSegmentsReachable(store);
  });
});

describe('a copy of a directory', () => {
  it('takes all that is there as it is compressed and signed', async () => {
    const store = new MemoryStore();
    const report = await copy(await directory(), store);
    expect(report).toMatchObject({ copied: { paths: 5 }, existed: { paths: 0 }, absent: 1, refused: [] });
    expect(await namesIn(store)).toEqual(ALL);
    await expectReadable(store, PATHS);
    await assertSegmentsReachable(store);
    const { roots } = await fetchRecords(store, await readView(store));
    expect(roots.map(({ name }) => name).sort()).toEqual(['app', 'doc', 'man']);
  });

  it.each(['bzip2', 'lzma', 'lz4'] as const)('takes what is compressed with %s, as Nix does', async (compression) => {
    const store = new MemoryStore();
    const report = await copy(await directory([{ name: 'rare', compression, bytes: 300_000, key }]), store);
    expect(report).toMatchObject({ copied: { paths: 1 }, refused: [] });
    const entry = (await openReader(store)).findEntry(hashPartFor('rare'));
    expect(entry?.narInfo.compression).toBe(compression);
    expect(entry?.listing).toBeDefined();
  });

  it('writes nothing when it is made again, but roots once a day', async () => {
    const url = await directory();
    const store = new MemoryStore();
    await copy(url, store);
    const before = [...store.tags];
    expect(await copy(url, store)).toMatchObject({
      copied: { paths: 0 },
      existed: { paths: 5 },
      segments: { written: 0 },
    });
    expect([...store.tags]).toEqual(before);
    expect(await copy(url, store, { now: () => day(3), run: 'run-2' })).toMatchObject({ segments: { written: 1 } });
  });

  it('moves large NARs into a layout and leaves nothing behind', async () => {
    const layout = await tempDir();
    const store = await LayoutStore.open(layout, { create: true });
    await copy(await directory(), store);
    await expectReadable(store, PATHS);
    expect(await readdir(await store.ingestDirectory())).toEqual([]);
  });

  it('leaves a whole cache wherever it is killed', async () => {
    const url = await directory();
    for (let at = 1; ; at++) {
      let calls = 0;
      let isOff = false;
      const store = new MemoryStore({
        onCall: () => {
          if (!isOff && ++calls >= at) throw new NixcacheError('ERR_NETWORK', 'cut off');
        },
      });
      await copy(url, store).catch((error: unknown) => {
        if (!(error instanceof NixcacheError)) throw error;
      });
      isOff = true;
      if (calls < at) break;
      await assertSegmentsReachable(store);
      const report = await copy(url, store);
      expect(report.copied.paths + report.existed.paths).toBe(5);
      expect(await namesIn(store)).toEqual(ALL);
      expect((await fetchRecords(store, await readView(store))).roots).toHaveLength(3);
      expect(at).toBeLessThan(100);
    }
  });
});

describe('a copy over HTTP', () => {
  it('takes the closure of what is asked for', async () => {
    const { url, requests } = await httpCache();
    const store = new MemoryStore();
    const report = await copy(url, store, { paths: [pathOf('app')], trustedKeys: [key.publicKey], keys: [own] });
    expect(report).toMatchObject({ copied: { paths: 3 }, absent: 1 });
    expect(await namesIn(store)).toEqual(['app', 'lib', 'libc']);
    await expectReadable(store, PATHS.slice(0, 3));
    const reader = await openReader(store);
    const info = reader.findEntry(hashPartFor('app'))?.narInfo;
    expect(info && findSigner(info, [own.publicKey])?.name).toBe('own-1');
    const { roots } = await fetchRecords(store, await readView(store));
    expect(roots).toMatchObject([{ name: 'app', path: baseNameFor('app') }]);
    requests.length = 0;
    expect(await copy(url, store, { paths: [pathOf('app')] })).toMatchObject({
      copied: { paths: 0 },
      existed: { paths: 3 },
    });
    expect(requests).toEqual([expect.stringMatching(/GET .*\.narinfo$/)]); // elsewhere
  });

  it('tries a NAR again whose connection broke', async () => {
    const upstream = await httpCache();
    Object.assign(upstream.faults, { breakOffAfter: 50, breakOffs: 2 });
    const store = new MemoryStore();
    await copy(upstream.url, store, { paths: [pathOf('lib')] });
    await expectReadable(store, PATHS.slice(0, 2));
  });

  it('does not take a source that does not answer for one that lacks the path', async () => {
    const upstream = await httpCache();
    upstream.faults.status = 500;
    const calls: StoreMethod[] = [];
    const store = new MemoryStore({ onCall: (method) => void calls.push(method) });
    await expect(copy(upstream.url, store, { paths: [pathOf('lib')] })).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
    expect(calls.filter((method) => method.startsWith('push'))).toEqual([]);
  });

  it('says which path is not there', async () => {
    const { url } = await httpCache();
    const copying = copy(url, new MemoryStore(), { paths: [pathOf('lib'), pathOf('absent')] });
    await expect(copying).rejects.toMatchObject({ code: 'ERR_NOT_FOUND', message: expect.stringContaining('-absent') });
  });

  it('counts in a dry run, and fetches no NAR', async () => {
    const { url, requests } = await httpCache();
    const store = new MemoryStore();
    const report = await copy(url, store, { paths: [pathOf('app')], dryRun: true });
    expect(report).toMatchObject({ dryRun: true, copied: { paths: 3 }, segments: { written: 0 } });
    expect(requests.filter((request) => request.includes('/nar/'))).toEqual([]);
    expect(store.tags.size).toBe(0);
  });
});

describe('what is not as its narinfo says', () => {
  const badAndItsUser = (reason: RegExp) => [
    { path: pathOf('bad'), reason: expect.stringMatching(reason) },
    { path: pathOf('user'), reason: expect.stringMatching(/^it refers to .*-bad, which is left out$/) },
  ];

  const other = narFor('other');
  const otherHash = `sha256:${'0'.repeat(52)}` as NixHash;
  it.each<[string, Partial<BinaryCachePath>, RegExp]>([
    ['another NAR', { compression: 'none', file: () => other }, /NAR hash is/],
    ['a shorter NAR', { compression: 'none', edit: (info) => ({ ...info, narSize: info.narSize + 8 }) }, /bytes, not/],
    ['a longer NAR', { edit: (info) => ({ ...info, narSize: info.narSize - 8 }) }, /longer than/],
    ['no xz', { file: () => other }, /damaged/],
    ['half an xz', { file: (file) => file.subarray(0, 150) }, /damaged/],
    ['no file', { file: () => undefined }, /has no nar/],
    ['a compression nobody can look into', { edit: (info) => ({ ...info, compression: 'lzop' }) }, /lzop/],
    ['bzip2 that is none', { compression: 'bzip2', file: (file) => file.subarray(20) }, /damaged/],
  ])('%s: is left out, with all that refers to it', async (_what, change, reason) => {
    const url = await directory([
      { name: 'bad', key, ...change },
      { name: 'user', references: ['bad'], key },
      { name: 'good', key },
    ]);
    const store = new MemoryStore();
    const report = await copy(url, store);
    expect(await namesIn(store)).toEqual(['good']);
    expect(report.copied.paths).toBe(1);
    expect(report.refused).toEqual(badAndItsUser(reason));
    await assertSegmentsReachable(store);
  });

  it.each(['none', 'zstd', 'xz'] as const)('but was never signed is taken: %s', async (compression) => {
    for (const lie of [{ fileHash: otherHash }, { fileSize: 1 }, { fileSize: 99_999_999_999 }]) {
      const store = new MemoryStore();
      const odd = { name: 'odd', key, compression, edit: (info: NarInfo) => ({ ...info, ...lie }) };
      expect(await copy(await directory([odd]), store)).toMatchObject({ copied: { paths: 1 }, refused: [] });
      await expectReadable(store, [odd]);
    }
  });

  it('is left out when its narinfo cannot be read, with all that refers to it', async () => {
    const far = await httpCache([
      { name: 'bad', key },
      { name: 'user', references: ['bad'], key },
      { name: 'good', key },
    ]);
    far.files.set(`/${hashPartFor('bad')}.narinfo`, '<html>no narinfo</html>\n');
    const store = new MemoryStore();
    const report = await copy(far.url, store, { paths: [pathOf('good'), pathOf('user')] });
    expect(await namesIn(store)).toEqual(['good']);
    expect(report.refused).toEqual(badAndItsUser(/cannot be used/));
    expect((await copy(far.url, store, { paths: [pathOf('bad')] })).refused).toMatchObject([{ path: pathOf('bad') }]);
  });

  it('is taken from wherever its narinfo says, with no password for anyone but the cache', async () => {
    const [far, elsewhere] = [await httpCache([{ name: 'good', key }]), await startFakeUpstream()];
    const path = `/${hashPartFor('good')}.narinfo`;
    const text = String(far.files.get(path));
    const [, url = ''] = /^URL: (.*)$/m.exec(text) ?? [];
    elsewhere.files.set('/else/where.nar', far.files.get(`/${url}`) ?? '');
    far.files.set(path, text.replace(/^URL: .*$/m, `URL: ${elsewhere.url}/else/where.nar`));
    const store = new MemoryStore();
    await copy(far.url.replace('//', '//me:secret@'), store, { paths: [pathOf('good')] });
    expect(await namesIn(store)).toEqual(['good']);
    expect(elsewhere.authorizations).toEqual([undefined]);
    expect(far.authorizations[0]).toMatch(/^Basic /);
  });

  it('costs what needs it through a path that the destination has, and its root', async () => {
    const url = await directory([
      { name: 'bad', key, compression: 'zstd', file: () => undefined },
      { name: 'mid', references: ['bad'], key },
      { name: 'top', references: ['mid'], key },
      { name: 'good', key },
    ]);
    const store = new MemoryStore();
    await new CacheBuilder(store).publish({ at: day(0), paths: [{ name: 'mid', references: ['bad'] }] });
    const report = await copy(url, store, { paths: [pathOf('top'), pathOf('good'), pathOf('mid')] });
    expect(report.refused.map(({ path, reason }) => [path, reason])).toEqual([
      [pathOf('bad'), expect.any(String)],
      [pathOf('top'), expect.stringMatching(/^it refers to .*-mid, which needs what is left out$/)],
    ]);
    expect(await namesIn(store)).toEqual(['good', 'mid']);
    const { roots } = await fetchRecords(store, await readView(store));
    expect(roots.map(({ name }) => name)).toEqual(['good']);
  });

  it('is not even fetched when nobody trusted signed it', async () => {
    const { url, requests } = await httpCache();
    const store = new MemoryStore();
    const report = await copy(url, store, { paths: [pathOf('app')], trustedKeys: [own.publicKey] });
    expect(report.refused.map(({ reason }) => reason)).toContain('no trusted key signed it');
    expect(report.refused).toHaveLength(3);
    expect(requests.filter((request) => request.includes('/nar/'))).toEqual([]);
    expect(store.tags.size).toBe(0);
  });
});
