import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { type Catalog, readCatalog } from '../../src/catalog/catalog.ts';
import { assertPinName, type PinOptions, removePin, setPin } from '../../src/catalog/pin.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { assertSegmentsReachable, baseNameFor, CacheBuilder, namesIn } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

const stores: readonly (readonly [string, () => Promise<ContentStore>])[] = [
  ['a memory store', async () => new MemoryStore()],
  ['an image layout', async () => LayoutStore.open(await tempDir(), { create: true })],
];

const catalogOf = async (store: ContentStore): Promise<Catalog> =>
  readCatalog({ store, reader: await IndexReader.open({ store, strict: true }), onWarning: fail });

const fail = (message: string): never => {
  throw new Error(message);
};

const at = async (store: ContentStore, now: Date): Promise<PinOptions> => ({
  ...{ store, catalog: await catalogOf(store), creator: 'test', onWarning: fail, now: () => now },
});

const history = async (store: ContentStore): Promise<unknown> =>
  (await catalogOf(store)).pins.map(({ name, path, removed }) => [name, removed ? 'removed' : path?.slice(33)]);

/** Two publishes, of which gc drops the first on day 60. */
async function published(store: ContentStore): Promise<void> {
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['lib', { name: 'old', references: ['lib'] }, 'older'], roots: ['old'] });
  await cache.publish({ at: day(50), paths: ['new'], roots: ['new'] });
}

describe.each(stores)('pins in %s', (_, open) => {
  it('are set, moved and removed, with all of it on record', async () => {
    const store = await open();
    await published(store);
    expect(await setPin('stable', baseNameFor('old'), await at(store, day(51)))).toMatchObject({ before: undefined });
    expect(await setPin('stable', baseNameFor('new'), await at(store, day(52)))).toMatchObject({
      path: baseNameFor('new'),
      before: baseNameFor('old'),
    });
    expect((await catalogOf(store)).currentPins).toEqual([
      { name: 'stable', path: baseNameFor('new'), time: day(52).getTime() / 1000 },
    ]);
    expect(await removePin('stable', await at(store, day(53)))).toMatchObject({ before: baseNameFor('new') });
    expect((await catalogOf(store)).currentPins).toEqual([]);
    expect(await history(store)).toEqual([
      ['stable', 'old'],
      ['stable', 'new'],
      ['stable', 'removed'],
    ]);
    await assertSegmentsReachable(store);
  });

  it('write nothing that is so already', async () => {
    const store = await open();
    await published(store);
    await setPin('stable', baseNameFor('old'), await at(store, day(51)));
    const before = await store.listTags();
    expect(await setPin('stable', baseNameFor('old'), await at(store, day(52)))).toMatchObject({ segment: undefined });
    expect(await store.listTags()).toEqual(before);
  });

  it('keep a path and what it refers to from gc, until they are removed', async () => {
    const store = await open();
    await published(store);
    await setPin('release', baseNameFor('old'), await at(store, day(51)));
    await gcAt(store, day(60));
    expect(await namesIn(store)).toEqual(['lib', 'new', 'old']);
    await gcAt(store, day(70)); // when the pin's own segment has long been compacted
    expect(await namesIn(store)).toEqual(['lib', 'new', 'old']);
    await removePin('release', await at(store, day(71)));
    await gcAt(store, day(120));
    expect(await namesIn(store)).toEqual(['new']);
    expect(await history(store)).toEqual([
      ['release', 'old'],
      ['release', 'removed'],
    ]);
  });

  it('set at once are both kept', async () => {
    const store = await open();
    await published(store);
    const [one, two] = await Promise.all([at(store, day(51)), at(store, day(51))]);
    await Promise.all([setPin('one', baseNameFor('old'), one), setPin('two', baseNameFor('new'), two)]);
    expect((await catalogOf(store)).currentPins.map(({ name }) => name)).toEqual(['one', 'two']);
  });
});

describe('pin', () => {
  it('refuses a path that is not in the cache, and says how to get it there', async () => {
    const store = new MemoryStore();
    await published(store);
    const before = store.tags.size;
    await expect(setPin('stable', baseNameFor('other'), await at(store, day(51)))).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringContaining(`nixcache push /nix/store/${baseNameFor('other')}`),
    });
    expect(store.tags.size).toBe(before);
  });

  it('counts from now on, though an earlier record came from a clock that is ahead', async () => {
    const store = new MemoryStore();
    await published(store);
    await setPin('stable', baseNameFor('old'), await at(store, day(90)));
    await setPin('stable', baseNameFor('new'), await at(store, day(52)));
    expect((await catalogOf(store)).currentPins).toMatchObject([{ path: baseNameFor('new') }]);
    await removePin('stable', await at(store, day(52)));
    expect((await catalogOf(store)).currentPins).toEqual([]);
  });

  it('keeps the path and what it refers to, though a gc that does not see it drops both while it is written', async () => {
    let armed = false;
    const store: MemoryStore = new MemoryStore({
      async onCall(method, [tag]) {
        if (!armed || method !== 'pushManifest' || !String(tag).startsWith('seg-')) return;
        armed = false;
        await gcAt(store, day(60));
      },
    });
    await published(store);
    const options = await at(store, day(60));
    armed = true;
    await setPin('late', baseNameFor('old'), options);
    expect(await namesIn(store)).toEqual(['lib', 'new', 'old']);
    await gcAt(store, day(62));
    expect(await namesIn(store)).toEqual(['lib', 'new', 'old']);
    await assertSegmentsReachable(store);
  });

  it('fails when the bytes are gone before it is written', async () => {
    const store = new MemoryStore();
    await published(store);
    const options = await at(store, day(60));
    store.blobs.clear();
    await expect(setPin('late', baseNameFor('old'), options)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(store.tags.size).toBe(3);
  });

  it('changes nothing when it cannot read what the name stood for', async () => {
    const store = new MemoryStore();
    await published(store);
    const catalog = { ...(await catalogOf(store)), unreadable: ['segment x is gone'] };
    const options = { ...(await at(store, day(51))), catalog };
    const before = store.tags.size;
    await expect(setPin('stable', baseNameFor('old'), options)).rejects.toMatchObject({ code: 'ERR_INDEX' });
    expect(store.tags.size).toBe(before);
  });

  it('removes no pin that is not there', async () => {
    const store = new MemoryStore();
    await expect(removePin('stable', await at(store, day(51)))).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('succeeds, with a warning, when only cache-index cannot be written', async () => {
    const warnings: string[] = [];
    let failing = false;
    const store = new MemoryStore({
      onCall(method, [tag]) {
        if (failing && method === 'pushManifest' && tag === 'cache-index') throw new Error('no');
      },
    });
    await published(store);
    const options = { ...(await at(store, day(51))), onWarning: (message: string) => warnings.push(message) };
    failing = true;
    await setPin('stable', baseNameFor('old'), options);
    expect(warnings).toEqual([expect.stringContaining('cache-index was not updated')]);
    expect((await catalogOf(store)).currentPins).toHaveLength(1);
  });

  it.each(['v1.0', 'packages.x86_64-linux.default', 'release/2026-11', 'é1', 'a'.repeat(200)])(
    'takes the name %s',
    (name) => {
      expect(() => assertPinName(name)).not.toThrow();
    },
  );

  it.each([
    '',
    '-x',
    '/nix',
    '.x',
    'a b',
    'a\nb',
    'a'.repeat(201),
    baseNameFor('lib'),
    baseNameFor('lib').slice(0, 32),
  ])('refuses the name %j', (name) => {
    expect(() => assertPinName(name)).toThrow(/cannot name a pin/);
  });
});

it('a pin with a long history can be set', async () => {
  const store = new MemoryStore();
  await published(store);
  const options = await at(store, day(51));
  const record = { name: 'stable', path: baseNameFor('old'), removed: true, time: day(60).getTime() / 1000 };
  const catalog = { ...options.catalog, pins: new Array(300_000).fill(record) };
  await setPin('stable', baseNameFor('new'), { ...options, catalog });
  expect((await catalogOf(store)).pins).toMatchObject([{ name: 'stable', time: record.time + 1 }]);
});
