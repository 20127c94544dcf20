/** Copies between stores in memory: what ends up where, and that nothing is lost on the way. */
import { describe, expect, it } from 'vitest';
import { fetchRecords } from '../../src/cache/read/stored-records.ts';
import { CACHE_INDEX_TAG } from '../../src/cache-index/tags.ts';
import type { CopyReferenceOptions } from '../../src/copy/copy-reference.ts';
import { findSigner, generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { toStorePath } from '../../src/nix/store-path.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import {
  assertSegmentsReachable,
  baseNameFor,
  CacheBuilder,
  hashPartFor,
  namesIn,
  openReader,
  readView,
} from '../support/cache-builder.ts';
import { assertClosed, copyBetween } from '../support/copy-runs.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';

const key = parseSecretKey(generateKey('copy-1').secret);
const names = (store: MemoryStore): string[] => [...store.tags.keys()].filter((tag) => tag !== CACHE_INDEX_TAG).sort();

async function published(): Promise<{ store: MemoryStore; cache: CacheBuilder }> {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['libc', { name: 'lib', references: ['libc'] }], publicKeys: [PUBLIC] });
  await cache.publish({
    at: day(1),
    paths: [
      { name: 'app', references: ['lib', 'app', 'upstream'] },
      { name: 'big', bytes: 200_000 },
    ],
    roots: ['app'],
    pins: [{ name: 'kept', path: baseNameFor('big'), time: 1 }],
    packed: false,
  });
  return { store, cache };
}
const PUBLIC = key.publicKey.text;
const ALL = ['app', 'big', 'lib', 'libc'];

/** Segments that refer to each other, as a compaction writes them. */
async function compacted(store: MemoryStore): Promise<CacheBuilder> {
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: [{ name: 'app', references: ['d'] }, 'b'], roots: ['app'] });
  await cache.publish({
    at: day(1),
    paths: [
      { name: 'c', references: ['b'] },
      { name: 'd', references: ['c'] },
    ],
  });
  return cache;
}

describe('a copy of a whole cache', () => {
  it('has the same tags on the same bytes', async () => {
    const { store, cache } = await published();
    const copy = new MemoryStore();
    const { report } = await copyBetween(store, copy);
    expect(names(copy)).toEqual(names(store));
    for (const tag of names(store)) expect(copy.tags.get(tag)).toBe(store.tags.get(tag));
    expect(new Set(copy.blobs.keys())).toEqual(new Set(store.blobs.keys()));
    expect(report).toMatchObject({
      copied: { paths: 4 },
      existed: { paths: 0 },
      segments: { whole: 2, written: 0 },
      refused: [],
      absent: 1,
    });
    const copied = new CacheBuilder(copy);
    for (const [name, nars] of cache.nars) copied.nars.set(name, nars);
    await copied.expectReadable(ALL);
    expect(await openReader(copy).then((reader) => reader.fetchPublicKeys())).toEqual([PUBLIC]);
    expect((await readView(copy)).descriptors.size).toBe(2);
  });

  it('writes nothing when it is made again', async () => {
    const { store } = await published();
    const calls: StoreMethod[] = [];
    const copy = new MemoryStore({ onCall: (method) => void calls.push(method) });
    await copyBetween(store, copy);
    calls.length = 0;
    const { report } = await copyBetween(store, copy);
    expect(calls.filter((method) => method.startsWith('push'))).toEqual([]);
    expect(report).toMatchObject({ copied: { paths: 0 }, existed: { paths: 4 }, uploadedBytes: 0 });
  });

  it('adds to what the destination has', async () => {
    const { store } = await published();
    const copy = new MemoryStore();
    const own = new CacheBuilder(copy);
    await own.publish({ at: day(3), paths: ['libc', 'mine'], roots: ['mine'] });
    const { report } = await copyBetween(store, copy);
    expect(report).toMatchObject({ copied: { paths: 3 }, existed: { paths: 1 } });
    expect(await namesIn(copy)).toEqual([...ALL, 'mine'].sort());
    await assertSegmentsReachable(copy);
    await own.expectReadable(['mine']);
    const { roots } = await fetchRecords(copy, await readView(copy));
    expect(roots.map(({ name }) => name).sort()).toEqual(['app', 'mine']);
  });

  it('splits segments that are too large for the destination', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    const paths = Array.from({ length: 12 }, (_, i) => ({ name: `p${i}`, references: i > 0 ? [`p${i - 1}`] : [] }));
    await cache.publish({ at: day(0), paths, packed: false, roots: ['p11'] });
    const copy = new MemoryStore({ maxLayers: 6 });
    const { report } = await copyBetween(store, copy);
    expect(report.segments).toEqual({ whole: 0, written: 3 });
    for (const tag of names(copy)) {
      const manifest = await copy.fetchManifest(tag);
      expect(decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), tag).layers.length).toBeLessThanOrEqual(6);
    }
    await assertSegmentsReachable(copy);
    const found = (await openReader(copy)).findAsserted(hashPartFor('p0'));
    expect(found?.asserted).toBe(day(0).getTime() / 1000);
    expect((await fetchRecords(copy, await readView(copy))).roots).toHaveLength(1);
    expect((await copyBetween(store, copy)).report.segments).toEqual({ whole: 0, written: 0 });
  });

  it('writes segments anew that refer to each other, and only once', async () => {
    const store = new MemoryStore();
    const cache = await compacted(store);
    const copy = new MemoryStore();
    const { report } = await copyBetween(store, copy);
    expect(report.segments).toEqual({ whole: 0, written: 1 });
    const copied = new CacheBuilder(copy);
    for (const [name, nars] of cache.nars) copied.nars.set(name, nars);
    await copied.expectReadable(['app', 'b', 'c', 'd']);
    expect((await fetchRecords(copy, await readView(copy))).roots.map(({ name }) => name)).toEqual(['app']);
    const before = names(copy);
    await copyBetween(store, copy);
    expect(names(copy)).toEqual(before);
  });

  it('copies a checkpoint as it is into a new cache', async () => {
    const { store } = await published();
    await gcAt(store, day(10));
    const copy = new MemoryStore();
    const { report } = await copyBetween(store, copy);
    expect(report).toMatchObject({ segments: { whole: 1, written: 0 }, checkpoints: 1 });
    const { live, checkpoints } = await readView(copy);
    expect(checkpoints.size).toBe(1);
    expect(live.segments).toEqual((await readView(store)).live.segments);
    expect(await namesIn(copy)).toEqual(await namesIn(store));
    const { roots, pins } = await fetchRecords(copy, await readView(copy));
    expect([roots.length, pins.length]).toEqual([1, 1]);
    expect((await copyBetween(store, copy)).report).toMatchObject({
      segments: { whole: 0, written: 0 },
      checkpoints: 0,
    });
  });

  it('takes nothing from the destination that the source has dropped', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['old'] });
    await cache.publish({ at: day(100), paths: ['new'], roots: ['new'] });
    const copy = new MemoryStore();
    await copyBetween(store, copy);
    await cache.publish({ at: day(101), paths: ['newer'], roots: ['newer'] });
    await gcAt(store, day(102));
    expect(await namesIn(store)).toEqual(['new', 'newer']);
    const { report } = await copyBetween(store, copy);
    expect(report).toMatchObject({ segments: { whole: 1 }, checkpoints: 0 });
    expect(await namesIn(copy)).toEqual(['new', 'newer', 'old']);
    await assertSegmentsReachable(copy);
  });

  it('brings back what a gc of the destination has dropped', async () => {
    const { store, cache } = await published();
    await cache.publish({ at: day(2), paths: ['unused'] });
    const copy = new MemoryStore();
    await copyBetween(store, copy);
    await gcAt(copy, day(200));
    expect(await namesIn(copy)).toEqual(ALL);
    await copyBetween(store, copy);
    expect(await namesIn(copy)).toEqual([...ALL, 'unused']);
    await assertSegmentsReachable(copy);
  });
});

describe('a copy with a selection', () => {
  it('takes the closure of paths, which become roots', async () => {
    const { store } = await published();
    const copy = new MemoryStore();
    const paths = [toStorePath(baseNameFor('lib'))];
    const { report } = await copyBetween(store, copy, { selection: { kind: 'some', names: [], paths } });
    expect(report).toMatchObject({ copied: { paths: 2 }, segments: { written: 1 } });
    expect(await namesIn(copy)).toEqual(['lib', 'libc']);
    expect((await fetchRecords(copy, await readView(copy))).roots).toMatchObject([{ path: baseNameFor('lib') }]);
    const before = names(copy);
    await copyBetween(store, copy, { selection: { kind: 'some', names: [], paths } });
    expect(names(copy)).toEqual(before);
  });

  it('takes what roots and pins need', async () => {
    const { store, cache } = await published();
    await cache.publish({ at: day(2), paths: ['unused'] });
    const copy = new MemoryStore();
    await copyBetween(store, copy, { selection: { kind: 'some', names: ['*'], paths: [] } });
    expect(await namesIn(copy)).toEqual(ALL);
    const { roots, pins } = await fetchRecords(copy, await readView(copy));
    expect([roots.length, pins.length]).toEqual([1, 1]);
  });

  it('takes what names stand for now, and records that alone', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    await cache.publish({
      at: day(0),
      paths: ['old', 'pinned-before'],
      roots: [{ name: 'app', path: 'old', system: 'x86_64-linux' }],
    });
    await cache.publish({
      at: day(1),
      paths: ['libc', { name: 'new', references: ['libc'] }, 'arm', 'other', 'kept'],
      roots: [
        { name: 'app', path: 'new', system: 'x86_64-linux' },
        { name: 'app', path: 'arm', system: 'aarch64-linux' },
        { name: 'other', path: 'other' },
      ],
      pins: [
        { name: 'v1', path: baseNameFor('pinned-before'), time: 1 },
        { name: 'v1', path: baseNameFor('kept'), time: 2 },
      ],
    });
    const copy = new MemoryStore();
    const selection = { kind: 'some', names: ['a?p', 'v1'], paths: [] } as const;
    const { report } = await copyBetween(store, copy, { selection });
    expect(report).toMatchObject({ copied: { paths: 4 }, absent: 0 });
    expect(await namesIn(copy)).toEqual(['arm', 'kept', 'libc', 'new']);
    const { roots, pins } = await fetchRecords(copy, await readView(copy));
    expect(roots.map(({ name, system, path }) => [name, system, path]).sort()).toEqual([
      ['app', 'aarch64-linux', baseNameFor('arm')],
      ['app', 'x86_64-linux', baseNameFor('new')],
    ]);
    expect(pins).toEqual([{ name: 'v1', path: baseNameFor('kept'), time: 2 }]);
    const before = names(copy);
    await copyBetween(store, copy, { selection });
    expect(names(copy)).toEqual(before);
  });

  it('takes names and paths together', async () => {
    const { store, cache } = await published();
    await cache.publish({ at: day(2), paths: ['unused', 'tool'] });
    const copy = new MemoryStore();
    const paths = [toStorePath(baseNameFor('tool'))];
    await copyBetween(store, copy, { selection: { kind: 'some', names: ['app'], paths } });
    expect(await namesIn(copy)).toEqual(['app', 'lib', 'libc', 'tool']);
    const { roots } = await fetchRecords(copy, await readView(copy));
    expect(roots.map(({ name }) => name).sort()).toEqual(['app', 'tool']);
  });

  it('names every name that matches nothing, and writes nothing', async () => {
    const { store } = await published();
    const copy = new MemoryStore();
    const selection = { kind: 'some', names: ['ap', 'app', 'x.*'], paths: [] } as const;
    await expect(copyBetween(store, copy, { selection })).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringMatching(/has no root or pin called 'ap' or 'x\.\*':/),
    });
    expect(copy.blobs.size).toBe(0);
  });

  it('says of a root whose path lies in another cache where it is not, and records it', async () => {
    const { store, cache } = await published();
    await cache.publish({ at: day(2), roots: ['elsewhere'] });
    const copy = new MemoryStore();
    const { events } = await copyBetween(store, copy, { selection: { kind: 'some', names: ['elsewhere'], paths: [] } });
    expect(events).toContainEqual({
      type: 'warning',
      message: expect.stringMatching(/^elsewhere is .*-elsewhere, which/),
    });
    expect((await fetchRecords(copy, await readView(copy))).roots.map(({ name }) => name)).toEqual(['elsewhere']);
  });

  it('says which path is not there, and writes nothing', async () => {
    const { store } = await published();
    const copy = new MemoryStore();
    const paths = [toStorePath(baseNameFor('lib')), toStorePath(baseNameFor('absent'))];
    const copying = copyBetween(store, copy, { selection: { kind: 'some', names: [], paths } });
    await expect(copying).rejects.toMatchObject({ code: 'ERR_NOT_FOUND', message: expect.stringContaining('-absent') });
    expect(copy.blobs.size).toBe(0);
  });
});

describe('signatures', () => {
  it('of our own are added to those that are there', async () => {
    const { store } = await published();
    const copy = new MemoryStore();
    await copyBetween(store, copy);
    await copyBetween(store, copy, { keys: [key] });
    const entries = [...(await openReader(copy)).entries()];
    expect(entries.map(({ entry }) => findSigner(entry.narInfo, [key.publicKey])?.name)).toEqual(
      ALL.map(() => key.name),
    );
    expect((await copyBetween(store, copy, { keys: [key] })).report.segments).toEqual({ whole: 0, written: 0 });
  });

  it('that nobody trusted made keep an entry out, and all that refers to it', async () => {
    const { store } = await published();
    const signed = new MemoryStore();
    await copyBetween(store, signed, {
      keys: [key],
      selection: { kind: 'some', names: [], paths: [toStorePath(baseNameFor('libc'))] },
    });
    await copyBetween(store, signed);
    const copy = new MemoryStore();
    const { report } = await copyBetween(signed, copy, { trustedKeys: [key.publicKey] });
    expect(await namesIn(copy)).toEqual(['libc']);
    const reasons = Object.fromEntries(report.refused.map(({ path, reason }) => [path.slice(44), reason]));
    expect(reasons).toEqual({
      app: expect.stringMatching(/^it refers to .*-lib, which is left out$/),
      big: 'no trusted key signed it',
      lib: 'no trusted key signed it',
    });
    await assertClosed(copy, copy);
  });
});

describe('a root that needs what nobody trusted signed', () => {
  /** Its library is signed, and is at the destination; what that refers to is neither. */
  async function overstated(): Promise<{ signed: MemoryStore; copy: MemoryStore }> {
    const [store, signed, copy] = [new MemoryStore(), new MemoryStore(), new MemoryStore()];
    const lib = { name: 'lib', references: ['libc'] };
    const paths = [lib, { name: 'app', references: ['lib'] }, 'good'];
    await new CacheBuilder(store).publish({ at: day(0), paths, roots: ['app', 'good'] });
    await copyBetween(store, signed, { keys: [key], now: () => day(0) });
    await new CacheBuilder(signed).publish({ at: day(1), paths: ['libc'] });
    // A segment of records alone.
    const pins = [{ name: 'kept', path: baseNameFor('lib'), time: 1 }];
    await new CacheBuilder(signed).publish({ at: day(2), roots: ['app'], pins });
    await new CacheBuilder(copy).publish({ at: day(0), paths: [lib] });
    return { signed, copy };
  }

  it.each<[string, CopyReferenceOptions['selection']]>([
    ['everything', { kind: 'everything' }],
    ['roots', { kind: 'some', names: ['*'], paths: [] }],
    ['paths', { kind: 'some', names: [], paths: ['app', 'good'].map((name) => toStorePath(baseNameFor(name))) }],
  ])('is not recorded by a copy of %s, though what it refers to is there', async (_kind, selection) => {
    const { signed, copy } = await overstated();
    const { report } = await copyBetween(signed, copy, { trustedKeys: [key.publicKey], selection });
    expect(report.refused.map(({ path, reason }) => [path.slice(44), reason])).toEqual([
      ['libc', 'no trusted key signed it'],
      ['app', expect.stringMatching(/^it refers to .*-lib, which needs what is left out$/)],
    ]);
    expect(await namesIn(copy)).toEqual(['good', 'lib']);
    const { roots, pins } = await fetchRecords(copy, await readView(copy));
    expect([roots.map(({ path }) => path), pins]).toEqual([[baseNameFor('good')], []]);
  });

  it('is not recorded with a checkpoint that is taken over', async () => {
    const { signed, copy } = await overstated();
    await gcAt(signed, day(3));
    await copyBetween(signed, copy, { trustedKeys: [key.publicKey] });
    const { roots, pins } = await fetchRecords(copy, await readView(copy));
    expect([roots.map(({ path }) => path), pins]).toEqual([[baseNameFor('good')], []]);
  });
});

describe('what cannot be read', () => {
  it.each([
    ['source', true],
    ['destination', false],
  ])('at the %s stops the copy before anything is written', async (_what, isSource) => {
    const { store } = await published();
    const damaged = new MemoryStore();
    await new CacheBuilder(damaged).publish({ at: day(0), paths: ['x'] });
    const [tag = ''] = names(damaged);
    damaged.blobs.clear();
    const calls: StoreMethod[] = [];
    const sound = new MemoryStore({ onCall: (method) => void calls.push(method) });
    const copying = isSource ? copyBetween(damaged, sound) : copyBetween(store, damaged);
    await expect(copying).rejects.toMatchObject({ code: 'ERR_INDEX', message: expect.stringContaining(tag) });
    expect(calls.filter((method) => method.startsWith('push'))).toEqual([]);
    expect(damaged.blobs.size).toBe(0);
  });

  it('is not written in a dry run either', async () => {
    const { store } = await published();
    const calls: StoreMethod[] = [];
    const copy = new MemoryStore({ onCall: (method) => void calls.push(method) });
    const { report } = await copyBetween(store, copy, { dryRun: true });
    expect(report.copied.paths).toBe(4);
    expect(report.copied.bytes).toBeGreaterThan(200_000);
    expect(calls.filter((method) => method.startsWith('push'))).toEqual([]);
    await assertClosed(copy, store);
  });
});
