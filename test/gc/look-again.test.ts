/** What gc does about segments that appeared too late for it to see them. */
import { expect, it } from 'vitest';
import { parseTag } from '../../src/cache-index/tags.ts';
import { NixcacheError } from '../../src/errors.ts';
import { CacheBuilder, namesIn } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

/** A cache whose gc on day 60 drops `old` and `lib`; `before` and `after` are called around the checkpoint's PUT. */
async function aged({
  before,
  after,
  onFetch,
}: {
  before?: () => Promise<void>;
  after?: () => void;
  onFetch?: (digest: string) => void;
} = {}): Promise<{
  store: MemoryStore;
  cache: CacheBuilder;
}> {
  const store: MemoryStore = new MemoryStore({
    async onCall(method, [tag]) {
      if (method === 'fetchBlob') onFetch?.((tag as { digest: string }).digest);
      if (method === 'listTags' && [...store.tags.keys()].some((each) => parseTag(each)?.kind === 'checkpoint'))
        after?.();
      if (method === 'pushManifest' && parseTag(String(tag))?.kind === 'checkpoint') await before?.();
    },
  });
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['lib', { name: 'old', references: ['lib'] }], roots: ['old'] });
  await cache.publish({ at: day(50), paths: ['new'], roots: ['new'] });
  return { store, cache };
}

it('lists anew what a segment needs that was committed just before its checkpoint', async () => {
  const held: { cache?: CacheBuilder } = {};
  const { store, cache } = await aged({
    before: async () =>
      void (await held.cache?.publish({ at: day(60), paths: [{ name: 'app', references: ['old'] }] })),
  });
  held.cache = cache;
  const { events } = await gcAt(store, day(60));
  expect(await namesIn(store)).toEqual(['app', 'lib', 'new', 'old']);
  expect(events).toContainEqual({
    type: 'warning',
    message: '2 dropped entries are needed after all: listed again',
  });
});

it('announces its checkpoint before it looks for what came meanwhile: who commits between the two is seen', async () => {
  let publish: (() => Promise<unknown>) | undefined;
  const store: MemoryStore = new MemoryStore({
    async onCall(method, [tag]) {
      if (method !== 'pushManifest' || parseTag(String(tag))?.kind !== 'record') return;
      const once = publish;
      publish = undefined;
      await once?.();
    },
  });
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['old'], roots: ['old'] });
  await cache.publish({ at: day(50), paths: ['new'], roots: ['new'] });
  publish = () => cache.publish({ at: day(60), paths: [{ name: 'app', references: ['old'] }] });
  const { events } = await gcAt(store, day(60));
  expect(events).toContainEqual({ type: 'warning', message: expect.stringMatching(/: starting over$/) });
  expect(await namesIn(store)).toEqual(['app', 'new', 'old']);
});

it('reads nothing of what it has listed anew itself', async () => {
  const held: { cache?: CacheBuilder } = {};
  const fetched: string[] = [];
  const { store, cache } = await aged({
    before: async () =>
      void (await held.cache?.publish({ at: day(60), paths: [{ name: 'app', references: ['old'] }] })),
    onFetch: (digest) => fetched.push(digest),
  });
  held.cache = cache;
  const before = new Set(store.tags.keys());
  await gcAt(store, day(60));
  const added = [...store.tags.keys()].filter((tag) => !before.has(tag) && parseTag(tag)?.kind === 'segment');
  const entries = added.map((tag) => parseTag(tag)?.id ?? '').filter((id) => fetched.includes(id));
  // The new form of what is kept, and the segment that came late; not the one that lists anew.
  expect([added.length, entries.length]).toEqual([3, 2]);
});

it('does so for a gc that died there, before it deletes anything', async () => {
  const held: { cache?: CacheBuilder } = {};
  let isDead = false;
  const { store, cache } = await aged({
    before: async () =>
      void (await held.cache?.publish({ at: day(60), paths: [{ name: 'app', references: ['old'] }] })),
    after: () => {
      if (isDead) throw new NixcacheError('ERR_NETWORK', 'killed');
    },
  });
  held.cache = cache;
  isDead = true;
  await expect(gcAt(store, day(60))).rejects.toThrow('killed');
  held.cache = undefined as never;
  isDead = false;
  expect(await namesIn(store)).toEqual(['app', 'new']);
  await gcAt(store, day(63));
  await gcAt(store, day(66));
  expect(await namesIn(store)).toEqual(['app', 'lib', 'new', 'old']);
});

it('does so for a gc that died there also where only the record of a root was committed', async () => {
  const held: { cache?: CacheBuilder } = {};
  let isDead = true;
  const { store, cache } = await aged({
    before: async () => void (await held.cache?.publish({ at: day(60), paths: [], roots: ['old'] })),
    after: () => {
      if (isDead) throw new NixcacheError('ERR_NETWORK', 'killed');
    },
  });
  held.cache = cache;
  await expect(gcAt(store, day(60))).rejects.toThrow('killed');
  held.cache = undefined as never;
  isDead = false;
  expect(await namesIn(store)).toEqual(['new']);
  await gcAt(store, day(60.2));
  expect(await namesIn(store)).toEqual(['lib', 'new', 'old']);
});

it('and for a root of which only the record was committed', async () => {
  const held: { cache?: CacheBuilder } = {};
  const { store, cache } = await aged({
    before: async () => void (await held.cache?.publish({ at: day(60), paths: [], roots: ['old'] })),
  });
  held.cache = cache;
  await gcAt(store, day(60));
  expect(await namesIn(store)).toEqual(['lib', 'new', 'old']);
});

it('does so while a publish may still be under way, though a second gc has compacted meanwhile', async () => {
  const { store, cache } = await aged();
  await gcAt(store, day(60));
  await cache.publish({ at: day(60.1), paths: ['small'] });
  const second = await gcAt(store, day(60.1));
  expect(second.report.checkpoint).toBeDefined();
  await cache.publish({ at: day(60.2), paths: [{ name: 'app', references: ['old'] }] });
  await gcAt(store, day(60.3));
  expect(await namesIn(store)).toEqual(['app', 'lib', 'new', 'old', 'small']);
});

it('leaves dropped what nothing needs', async () => {
  const { store } = await aged();
  await gcAt(store, day(60));
  await gcAt(store, day(60.5));
  expect(await namesIn(store)).toEqual(['new']);
});

it('records what it was told to retain', async () => {
  const { store } = await aged();
  const { report } = await gcAt(store, day(60), { retainSeconds: 7 * 24 * 60 * 60 });
  expect(report.checkpoint).toBeDefined();
  const id = parseTag(report.checkpoint ?? '')?.id;
  expect(JSON.parse(String(id && store.blobs.get(id))).retainSeconds).toBe(7 * 24 * 60 * 60);
});
