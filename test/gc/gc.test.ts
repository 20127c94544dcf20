import { describe, expect, it } from 'vitest';
import { currentPins } from '../../src/cache-index/records.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { assertSegmentsReachable, baseNameFor, CacheBuilder, namesIn, openReader } from '../support/cache-builder.ts';
import { DAY_SECONDS, day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

const stores: readonly (readonly [string, () => Promise<ContentStore>])[] = [
  ['a memory store', async () => new MemoryStore()],
  ['an image layout', async () => LayoutStore.open(await tempDir(), { create: true })],
];

/** A closure published on day 0, whose root was replaced on day 50; the library is still needed. */
async function aged(store: ContentStore): Promise<CacheBuilder> {
  const cache = new CacheBuilder(store);
  await cache.publish({
    at: day(0),
    paths: ['lib', { name: 'old-lib' }, { name: 'old-app', references: ['lib', 'old-lib'] }],
    roots: ['old-app'],
  });
  await cache.publish({ at: day(50), paths: [{ name: 'app', references: ['lib'] }], roots: ['app'] });
  return cache;
}

const manifestTags = async (store: ContentStore): Promise<string[]> => (await store.listTags()).sort();

describe.each(stores)('gc on %s', (_, open) => {
  it('drops what no kept root reaches, and keeps what one does', async () => {
    const store = await open();
    const cache = await aged(store);
    const { report } = await gcAt(store, day(60));
    expect(report).toMatchObject({
      kept: { entries: 2 },
      dropped: { entries: 2 },
      segments: { untouched: 0, written: 1 },
      notFreed: [],
    });
    expect(report.dropped.paths.map(({ path }) => path.slice(44)).sort()).toEqual(['old-app', 'old-lib']);
    expect(report.roots.expired.map(({ name }) => name)).toEqual(['old-app']);
    expect(await namesIn(store)).toEqual(['app', 'lib']);
    await cache.expectReadable(['app', 'lib']);
    await assertSegmentsReachable(store);
  });

  it('changes nothing the second time', async () => {
    const store = await open();
    await aged(store);
    await gcAt(store, day(60));
    const before = await manifestTags(store);
    const { report } = await gcAt(store, day(60));
    expect(report).toMatchObject({ checkpoint: undefined, dropped: { entries: 0 }, deletedManifests: 0 });
    expect(await manifestTags(store)).toEqual(before);
  });

  it('changes nothing in a dry run, and says what it would do', async () => {
    const store = await open();
    await aged(store);
    const before = await manifestTags(store);
    const { report } = await gcAt(store, day(60), { dryRun: true });
    expect(report).toMatchObject({ dryRun: true, checkpoint: undefined, dropped: { entries: 2 }, deletedManifests: 0 });
    expect(report.waiting).toEqual({ manifests: 2, until: day(61) });
    expect(await manifestTags(store)).toEqual(before);
    expect(await namesIn(store)).toEqual(['app', 'lib', 'old-app', 'old-lib']);
  });

  it('deletes replaced segments only after the grace period', async () => {
    const store = await open();
    const cache = await aged(store);
    const replaced = (await manifestTags(store)).filter((tag) => tag.startsWith('seg-'));
    const first = await gcAt(store, day(60));
    expect(first.report.waiting).toEqual({ manifests: 2, until: day(61) });
    expect((await gcAt(store, day(60.9))).report.deletedManifests).toBe(0);
    expect(await manifestTags(store)).toEqual(expect.arrayContaining(replaced));
    expect((await gcAt(store, day(61.1))).report).toMatchObject({ deletedManifests: 2, waiting: { manifests: 0 } });
    for (const tag of replaced) expect(await store.resolve(tag)).toBeUndefined();
    await cache.expectReadable(['app', 'lib']);
    await assertSegmentsReachable(store);
  });

  it('deletes at once when there is no grace period, and warns of that', async () => {
    const store = await open();
    const cache = await aged(store);
    const { report, events } = await gcAt(store, day(60), { graceSeconds: 0 });
    expect(report.deletedManifests).toBe(2);
    expect(events).toContainEqual({ type: 'warning', message: expect.stringContaining('only while nothing else') });
    expect(events.filter(({ type }) => type === 'warning')).toHaveLength(1);
    await cache.expectReadable(['app', 'lib']);
    await assertSegmentsReachable(store);
  });

  it('does nothing to a cache that was never written', async () => {
    const store = await open();
    const { report } = await gcAt(store, day(0));
    expect(report).toMatchObject({ kept: { entries: 0 }, checkpoint: undefined });
    expect(await manifestTags(store)).toEqual([]);
  });

  it('keeps an entry as long as it was asserted within the retention, with all it refers to', async () => {
    const store = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['lib', { name: 'tool', references: ['lib'] }, 'other'] });
    await cache.publish({ at: day(40), asserted: ['tool'] });
    await gcAt(store, day(60));
    expect(await namesIn(store)).toEqual(['lib', 'tool']);
    const reader = await openReader(store);
    const asserted = new Map(
      [...reader.entries()].map((found) => [found.entry.narInfo.path.slice(44), found.asserted]),
    );
    expect(asserted).toEqual(
      new Map([
        ['lib', day(0).getTime() / 1000],
        ['tool', day(40).getTime() / 1000],
      ]),
    );
    await gcAt(store, day(71));
    expect(await namesIn(store)).toEqual([]);
  });

  it('keeps pins and their history, and the last publishes of a name', async () => {
    const store = await open();
    const cache = new CacheBuilder(store);
    const time = day(0).getTime() / 1000;
    const pins = [
      { name: 'stable', path: baseNameFor('pinned'), time },
      { name: 'gone', path: baseNameFor('unpinned'), time },
      { name: 'gone', time: time + 1, removed: true },
    ];
    await cache.publish({ at: day(0), paths: ['pinned', 'unpinned'], pins });
    for (const build of [1, 2, 3]) {
      await cache.publish({ at: day(build), paths: [{ name: `app-${build}` }], roots: [`app-${build}`] });
    }
    const { report } = await gcAt(store, day(60), { keepLast: 1 });
    expect(await namesIn(store)).toEqual(['app-1', 'app-2', 'app-3', 'pinned']);
    expect(report.pins).toHaveLength(3);
    await gcAt(store, day(60));
    expect(await namesIn(store)).toEqual(['app-3', 'pinned']);
    const config = [...((await openReader(store)).view?.checkpoints.values() ?? [])].at(-1);
    expect(currentPins(config?.pins ?? []).map(({ name }) => name)).toEqual(['stable']);
    expect(config?.pins).toHaveLength(3);
  });

  it('gives what it writes the time of the newest that it replaces', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    const days = [50, 52, 54, 56, 58];
    for (const at of days) await cache.publish({ at: day(at), paths: [`small-${at}`], roots: [`small-${at}`] });
    const before = new Set(store.tags.keys());
    const { report } = await gcAt(store, day(60));
    expect(report.segments.rewritten.length).toBeGreaterThan(1);
    const newest = report.segments.rewritten
      .map(({ tag }) => parseTag(tag)?.time ?? 0)
      .reduce((a, b) => Math.max(a, b));
    const written = [...store.tags.keys()].filter((tag) => !before.has(tag) && parseTag(tag)?.kind === 'segment');
    expect(written.map((tag) => parseTag(tag)?.time)).toEqual([newest]);
  });

  it('writes the live rest of a pack that is mostly dead into a new one, and re-uses others', async () => {
    const store = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'b', 'c', 'd'].map((name) => ({ name, bytes: 1000 })) });
    await cache.publish({ at: day(1), paths: ['e', 'f', 'g'].map((name) => ({ name, bytes: 1000 })) });
    await cache.publish({ at: day(40), asserted: ['a', 'e', 'f'] });
    const { report } = await gcAt(store, day(60));
    expect(report.packs).toMatchObject({ rewritten: 1, written: 1 });
    expect(report.packs.bytes).toBeGreaterThan(1000);
    expect(report.packs.bytes).toBeLessThan(1500);
    await cache.expectReadable(['a', 'e', 'f']);
    expect(await namesIn(store)).toEqual(['a', 'e', 'f']);
    await assertSegmentsReachable(store);
    await gcAt(store, day(62));
    await cache.expectReadable(['a', 'e', 'f']);
  });

  it('re-uses NAR blobs without uploading them again', async () => {
    const store = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(50), packed: false, paths: [{ name: 'a', bytes: 5000 }], roots: ['a'] });
    await cache.publish({ at: day(51), packed: false, paths: [{ name: 'b', bytes: 5000 }], roots: ['b'] });
    const { report, events } = await gcAt(store, day(60));
    expect(report).toMatchObject({ segments: { written: 1 }, packs: { written: 0 } });
    expect(events.some(({ type }) => type === 'pack-written')).toBe(false);
    await cache.expectReadable(['a', 'b']);
  });

  it('replaces old checkpoints, deletes them when nothing they killed can come back, and loses no root', async () => {
    const store = await open();
    const cache = await aged(store);
    await gcAt(store, day(60));
    for (const at of [61.5, 63, 64.5, 66]) {
      await cache.publish({ at: day(at), paths: [`app-${at}`], roots: [`app-${at}`] });
      await gcAt(store, day(at + 0.2));
      await cache.expectReadable(['app', 'lib']);
    }
    await gcAt(store, day(70));
    const tags = await store.listTags();
    const kinds = ['seg', 'ckpt', 'rec', 'cache'].map(
      (kind) => tags.filter((tag) => tag.startsWith(`${kind}-`)).length,
    );
    expect(kinds).toEqual([1, 1, 1, 1]);
    expect(await namesIn(store)).toEqual(['app', 'app-61.5', 'app-63', 'app-64.5', 'app-66', 'lib']);
    const [config] = (await openReader(store)).view?.checkpoints.values() ?? [];
    expect(config?.roots.map(({ name }) => name)).toEqual(['app', 'app-61.5', 'app-63', 'app-64.5', 'app-66']);
    await assertSegmentsReachable(store);
  });
});

it('frees the files of a layout once the grace period is over', async () => {
  const store = await LayoutStore.open(await tempDir(), { create: true });
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), packed: false, paths: [{ name: 'old', bytes: 50_000 }], roots: ['old'] });
  await cache.publish({ at: day(50), paths: ['new'], roots: ['new'] });
  const { report } = await gcAt(store, day(60), { graceSeconds: 0 });
  expect(report.freed?.bytes).toBeGreaterThan(50_000);
  await cache.expectReadable(['new']);
  const again = await gcAt(store, day(61), { retainSeconds: 15 * DAY_SECONDS });
  expect(again.report.freed).toEqual({ blobs: 0, bytes: 0 });
});
