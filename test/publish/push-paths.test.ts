import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { fetchRecords } from '../../src/cache/read/stored-records.ts';
import { findDueEntries } from '../../src/cache/write/asserted-entries.ts';
import { infosInOrder } from '../../src/cache/write/references-first.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { verifyNar } from '../../src/nar/nar-reader.ts';
import { NarWriter } from '../../src/nar/nar-writer.ts';
import { decompressZstd } from '../../src/nar/zstd-frames.ts';
import { formatNarInfo } from '../../src/nix/nar-info.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { findSigner, generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { baseNameOf, hashPartOf } from '../../src/nix/store-path.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import { type PushPathsOptions, pushPaths } from '../../src/publish/push-paths.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

const key = parseSecretKey(generateKey('test-1').secret);

const options = (
  store: ContentStore,
  paths: LocalPaths,
  overrides: Partial<PushPathsOptions> = {},
): PushPathsOptions => ({
  store,
  push: infosInOrder(paths.infos),
  asserted: [],
  roots: [],
  keys: [key],
  storeDir: '/nix/store',
  creator: 'test',
  compression: { method: 'zstd' },
  contentPath: ({ path }) => paths.contentPath(path),
  workers: 2,
  onEvent: () => undefined,
  now: () => new Date(),
  ...overrides,
});

async function read(store: ContentStore): Promise<IndexReader> {
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  return reader;
}

/** The NAR hash of what the cache really serves for `info`. */
async function servedHash(reader: IndexReader, info: PathInfo): Promise<string | undefined> {
  const entry = reader.findEntry(hashPartOf(info.path));
  if (!entry) return undefined;
  return (await verifyNar(decompressZstd(await reader.openNar(entry)))).narHash;
}

/** Tiny, middling and large paths with references among them. */
async function somePaths(): Promise<LocalPaths> {
  const paths = new LocalPaths(await tempDir());
  const base = await paths.add('base', { 'lib/libc.so': randomBytes(200_000) });
  for (let i = 0; i < 30; i++) await paths.add(`tiny-${i}`, { f: `tiny ${i}` }, i % 2 ? [base] : []);
  await paths.add(
    'app',
    { 'bin/app': randomBytes(3_000_000), 'share/doc': 'x'.repeat(100_000) },
    paths.infos.slice(0, 9),
  );
  return paths;
}

describe('pushPaths', () => {
  it('makes every path readable again, bit for bit and signed', async () => {
    const paths = await somePaths();
    const store = new MemoryStore();
    const outcome = await pushPaths(options(store, paths));
    expect(outcome.failed.size).toBe(0);
    const reader = await read(store);
    for (const info of paths.infos) {
      expect(await servedHash(reader, info)).toBe(info.narHash);
      const entry = reader.findEntry(hashPartOf(info.path));
      expect(entry && findSigner(entry.narInfo, [key.publicKey])?.name).toBe('test-1');
      const listing = entry && JSON.parse((await reader.fetchListing(entry))?.toString() ?? '');
      expect(listing.root.type).toBe('directory');
    }
  });

  it('keeps large NARs apart that are compressed at the same time', async () => {
    const paths = new LocalPaths(await tempDir());
    for (let i = 0; i < 6; i++) await paths.add(`large-${i}`, { f: Buffer.alloc(12_000_000, randomBytes(50_000 + i)) });
    const store = new MemoryStore();
    await pushPaths(options(store, paths));
    const reader = await read(store);
    for (const info of paths.infos) expect(await servedHash(reader, info)).toBe(info.narHash);
  });

  it('packs what is small: 30 tiny paths cost no blob each', async () => {
    const store = new MemoryStore();
    const outcome = await pushPaths(options(store, await somePaths()));
    const [segment] = outcome.segments;
    const manifest = await store.fetchManifest(segment?.tag ?? '');
    const layers = manifest ? decodeImageManifest(manifest.bytes, 'segment').layers : [];
    expect(layers.map(({ mediaType }) => mediaType.replace('application/vnd.nixcache.', '')).toSorted()).toEqual([
      'entries.v1+zstd',
      'nar.v1',
      'nar.v1',
      'pack.v1',
    ]);
  });

  it('writes several segments where a manifest may have few layers, each a closed set', async () => {
    const paths = new LocalPaths(await tempDir());
    for (let i = 0; i < 30; i++) await paths.add(`p-${i}`, { f: randomBytes(70_000) }, paths.infos.slice(-1));
    const store = new MemoryStore({ maxLayers: 12 });
    const outcome = await pushPaths(options(store, paths));
    expect(outcome.segments.reduce((sum, { entries }) => sum + entries, 0)).toBe(30);
    expect(outcome.segments.length).toBeLessThanOrEqual(4);
    for (const { tag } of outcome.segments) {
      const { bytes } = (await store.fetchManifest(tag)) ?? {};
      expect(decodeImageManifest(bytes ?? Buffer.alloc(0), tag).layers.length).toBeLessThanOrEqual(12);
    }
    const reader = await read(store);
    for (const info of paths.infos) expect(await servedHash(reader, info)).toBe(info.narHash);
  });

  it('never publishes a path whose bytes are not what the database says, nor what refers to it', async () => {
    const paths = new LocalPaths(await tempDir());
    const good = await paths.add('good', { f: 'good' });
    const bad = await paths.add('bad', { f: 'as registered' });
    const above = await paths.add('above', { f: 'above' }, [bad]);
    const top = await paths.add('top', { f: 'top' }, [above, good]);
    await writeFile(join(paths.contentPath(bad.path), 'f'), 'as DAMAGED!!');
    const store = new MemoryStore();
    const outcome = await pushPaths(options(store, paths));
    expect([...outcome.failed.keys()].toSorted()).toEqual(
      [bad, above, top].map(({ path }) => baseNameOf(path)).toSorted(),
    );
    expect(outcome.failed.get(baseNameOf(bad.path))).toContain('NAR hash');
    expect(outcome.failed.get(baseNameOf(top.path))).toContain(baseNameOf(above.path));
    const reader = await read(store);
    expect(reader.status().entries).toBe(1);
    expect(await servedHash(reader, good)).toBe(good.narHash);
  });

  it('pushes again, once, what the registry lost before the commit', async () => {
    const paths = await somePaths();
    let lost = 0;
    const store = new MemoryStore({
      onCall: (method) => {
        if (method !== 'pushManifest' || lost > 0) return;
        lost = store.blobs.size;
        store.blobs.clear();
      },
    });
    await pushPaths(options(store, paths));
    expect(lost).toBeGreaterThan(3);
    const reader = await read(store);
    for (const info of paths.infos) expect(await servedHash(reader, info)).toBe(info.narHash);
  });

  it('leaves out, while it heals, only the path whose bytes have changed and what refers to it', async () => {
    const paths = new LocalPaths(await tempDir());
    const good = await paths.add('good', { f: randomBytes(100_000) });
    const bad = await paths.add('bad', { f: randomBytes(100_000) });
    const above = await paths.add('above', { f: 'above' }, [bad]);
    const other = await paths.add('other', { f: 'other' }, [good]);
    let lost = 0;
    const store = new MemoryStore({
      onCall: async (method) => {
        if (method !== 'pushManifest' || lost > 0) return;
        lost = store.blobs.size;
        store.blobs.clear();
        await writeFile(join(paths.contentPath(bad.path), 'f'), randomBytes(100_000));
      },
    });
    const time = 1_700_000_000;
    const roots = [above, other].map(({ path }) => ({ name: path.slice(44), path: baseNameOf(path), time, run: 'r' }));
    const outcome = await pushPaths(options(store, paths, { roots }));
    expect([...outcome.failed.keys()].toSorted()).toEqual([bad, above].map(({ path }) => baseNameOf(path)).toSorted());
    expect(outcome.failed.get(baseNameOf(bad.path))).toContain(bad.path);
    expect(outcome.pushed).toEqual([good, other]);
    const reader = await read(store);
    expect(reader.status().entries).toBe(2);
    for (const info of [good, other]) expect(await servedHash(reader, info)).toBe(info.narHash);
    const records = reader.view && (await fetchRecords(store, reader.view, {}));
    expect(records?.roots.map(({ path }) => path)).toEqual([baseNameOf(other.path)]);
  });

  describe('entries listed again whose blobs are gone', () => {
    /** A cache that holds `lost` and `kept`, without the bytes of `lost`; both are due. */
    async function robbed(): Promise<{
      paths: LocalPaths;
      store: MemoryStore;
      lost: PathInfo;
      kept: PathInfo;
      overrides: Partial<PushPathsOptions>;
    }> {
      const paths = new LocalPaths(await tempDir());
      const lost = await paths.add('lost', { f: randomBytes(100_000) });
      const kept = await paths.add('kept', { f: randomBytes(100_000) });
      const above = await paths.add('above', { f: 'above' }, [lost]);
      const store = new MemoryStore();
      await pushPaths(options(store, paths, { push: [lost, kept] }));
      const reader = await read(store);
      const hashParts = [lost, kept].map(({ path }) => hashPartOf(path));
      const { entries: asserted } = await findDueEntries({
        store,
        reader,
        hashParts,
        before: Number.POSITIVE_INFINITY,
      });
      const own = asserted.find(({ entry }) => entry.narInfo.path === lost.path)?.entry.nar[0]?.digest;
      if (own) store.blobs.delete(own);
      const roots = [above, kept].map(({ path }) => ({
        name: path.slice(44),
        path: baseNameOf(path),
        time: 1,
        run: 'r',
      }));
      return { paths, store, lost, kept, overrides: { push: [above], asserted, roots } };
    }

    it('are brought from the local store', async () => {
      const { paths, store, overrides } = await robbed();
      const outcome = await pushPaths(options(store, paths, overrides));
      expect(outcome.failed.size).toBe(0);
      const reader = await read(store);
      for (const info of paths.infos) expect(await servedHash(reader, info)).toBe(info.narHash);
    });

    it('are brought from an upstream that has the same NAR, where the local store has not', async () => {
      const { paths, store, lost, overrides } = await robbed();
      const directory = await tempDir();
      const upstream = new Upstream(parseUpstream(`file://${directory}`), { http: new HttpClient() });
      const nar = Buffer.concat([...new NarWriter(paths.contentPath(lost.path))].map((chunk) => Buffer.from(chunk)));
      await mkdir(join(directory, 'nar'));
      await writeFile(join(directory, 'nar/lost.nar'), nar);
      const narInfo = { ...lost, url: 'nar/lost.nar', compression: 'none', sigs: [] };
      await writeFile(join(directory, `${hashPartOf(lost.path)}.narinfo`), formatNarInfo(narInfo));
      await rm(paths.contentPath(lost.path), { recursive: true });
      const outcome = await pushPaths(options(store, paths, { ...overrides, upstreams: [upstream] }));
      expect(outcome.failed.size).toBe(0);
      const reader = await read(store);
      const entry = reader.findEntry(hashPartOf(lost.path));
      expect(entry?.narInfo.compression).toBe('none');
      expect(entry && findSigner(entry.narInfo, [key.publicKey])?.name).toBe('test-1');
      expect(entry && (await verifyNar(await reader.openNar(entry))).narHash).toBe(lost.narHash);
    });

    it('are left out with what refers to them, and its root, where nobody has their bytes', async () => {
      const { paths, store, lost, kept, overrides } = await robbed();
      await rm(paths.contentPath(lost.path), { recursive: true });
      const outcome = await pushPaths(options(store, paths, overrides));
      expect([...outcome.failed.keys()].map((name) => name.slice(33))).toEqual(['lost', 'above']);
      expect(outcome.failed.get(baseNameOf(lost.path))).toContain('memory has lost its bytes');
      expect(outcome.segments.map(({ entries }) => entries)).toEqual([1]);
      const reader = await read(store);
      expect(await servedHash(reader, kept)).toBe(kept.narHash);
      const records = reader.view && (await fetchRecords(store, reader.view, {}));
      expect(records?.roots.map(({ path }) => path)).toEqual([baseNameOf(kept.path)]);
    });
  });
});
