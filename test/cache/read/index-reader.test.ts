import { describe, expect, it } from 'vitest';
import type { IndexReader, IndexReaderOptions } from '../../../src/cache/read/index-reader.ts';
import { refreshCacheIndex } from '../../../src/cache/write/cache-index.ts';
import { CACHE_INDEX_TAG, parseTag, segmentTag } from '../../../src/cache-index/tags.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { generateKey } from '../../../src/nix/signature.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import { baseNameFor, CacheBuilder, hashPartFor, openReader } from '../../support/cache-builder.ts';
import { day, gcAt } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { namesIn, openWatched, type Watched, watched } from './watched-store.ts';

const key = generateKey('k').public;

const segmentTags = (store: MemoryStore): string[] =>
  [...store.tags.keys()].filter((tag) => parseTag(tag)?.kind === 'segment').sort();

describe('reading', () => {
  it('finds entries by store hash and by file hash, as clients get them', async () => {
    const { store } = watched();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', { name: 'b', references: ['a'] }], publicKeys: ['none:1', key] });
    const { reader, warnings } = await openWatched(store);
    expect(await reader.refresh()).toMatchObject({ changed: true, addedSegments: 1, removedSegments: 0 });
    const entry = reader.findEntry(hashPartFor('b'));
    expect(entry?.narInfo.references).toEqual([baseNameFor('a')]);
    expect(reader.findNarInfoText(hashPartFor('b'))).toMatch(/^StorePath: .*-b\nURL: nar\/[^N]*/);
    expect(reader.findNarInfoText(hashPartFor('b'))).not.toContain('Nixcache');
    expect(reader.findNarFile(entry?.narInfo.fileHash as never)?.entry).toEqual(entry);
    expect(reader.findEntry(hashPartFor('c'))).toBeUndefined();
    expect(reader.has(hashPartFor('a'))).toBe(true);
    expect(await reader.fetchPublicKeys()).toEqual([key]);
    expect(warnings).toEqual([expect.stringContaining("'none:1'")]);
    await cache.expectReadable(['a', 'b']);
  });

  it('prefers the newest form of an entry, and shows all of them by segment', async () => {
    const { store } = watched();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(1), paths: [{ name: 'a', references: ['new'] }] });
    await cache.publish({ at: day(0), paths: [{ name: 'a', references: ['old'], build: 2 }] });
    const { reader } = await openWatched(store);
    await reader.refresh();
    expect(reader.findAsserted(hashPartFor('a'))).toMatchObject({
      asserted: day(1).getTime() / 1000,
      entry: { narInfo: { references: [baseNameFor('new')] } },
    });
    expect(reader.status().entries).toBe(1);
    const references = reader.segments().map((segment) => segment.entryAt(0).narInfo.references);
    expect(references).toEqual([[baseNameFor('old')], [baseNameFor('new')]]);
  });

  it('reads a cache that was never written as empty', async () => {
    const { reader } = await openWatched(watched().store, { strict: true });
    expect(await reader.refresh()).toMatchObject({ changed: false, addedSegments: 0 });
    expect(reader.status()).toMatchObject({ entries: 0, segments: 0 });
  });

  it('finds segments by their tags when cache-index is missing', async () => {
    const { store } = watched();
    await new CacheBuilder(store).publish({ at: day(0), paths: ['a'], index: false });
    expect(namesIn(await openReader(store))).toEqual(['a']);
  });

  it('finds segments by cache-index when the tag list lags', async () => {
    const held = watched();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    const { reader } = await openWatched(held.store, { strict: true });
    held.store.listTags = async () => [CACHE_INDEX_TAG];
    await reader.refresh();
    expect(namesIn(reader)).toEqual(['a']);
  });
});

describe('refreshing', () => {
  it('fetches only what is new, and nothing when nothing is', async () => {
    const held = watched();
    const cache = new CacheBuilder(held.store);
    await cache.publish({ at: day(0), paths: ['a'] });
    const { reader } = await openWatched(held.store);
    await reader.refresh();
    await cache.publish({ at: day(1), paths: ['b'] });
    held.calls.length = 0;
    expect(await reader.refresh()).toMatchObject({ changed: true, addedSegments: 1 });
    expect(held.calls.sort()).toEqual(['fetchBlob', 'fetchManifest', 'listTags']);
    held.calls.length = 0;
    expect(await reader.refresh()).toEqual({ changed: false, addedSegments: 0, removedSegments: 0, bytes: 0 });
    expect(held.calls.sort()).toEqual(['fetchManifest', 'listTags']);
    expect(reader.status()).toMatchObject({ entries: 2, segments: 2, generation: 2 });
  });

  it('shares one refresh among concurrent calls', async () => {
    const held = watched();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    const { reader } = await openWatched(held.store);
    held.calls.length = 0;
    await Promise.all([reader.refresh(), reader.refresh(), reader.refresh()]);
    expect(held.calls.filter((method) => method === 'listTags')).toHaveLength(1);
  });

  it('follows a gc: what was dropped is gone, what was kept is there', async () => {
    const { store } = watched();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'old'], roots: ['old'] });
    const { reader } = await openWatched(store);
    await reader.refresh();
    await cache.publish({ at: day(50), paths: [{ name: 'b', references: ['a'] }], roots: ['b'] });
    await gcAt(store, day(60));
    expect(await reader.refresh()).toMatchObject({ addedSegments: 1, removedSegments: 1 });
    expect(namesIn(reader)).toEqual(['a', 'b']);
  });

  it.each([true, false])('reads again when a gc deletes what it is reading (strict: %s)', async (strict) => {
    const held = watched();
    const cache = new CacheBuilder(held.store);
    await cache.publish({ at: day(0), paths: ['a'], roots: ['a'] });
    await cache.publish({ at: day(1), paths: ['b'], roots: ['b'] });
    const { reader, warnings } = await openWatched(held.store, { strict });
    held.hook = async (method) => {
      if (method !== 'fetchBlob') return;
      held.hook = undefined;
      const before = segmentTags(held.store);
      await gcAt(held.store, day(2), { graceSeconds: 0 });
      for (const tag of before) held.store.blobs.delete(parseTag(tag)?.id as Digest);
    };
    await reader.refresh();
    expect(namesIn(reader)).toEqual(['a', 'b']);
    expect(warnings).toEqual([]);
  });

  it('keeps what it had when the registry does not answer', async () => {
    const held = watched();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    const { reader } = await openWatched(held.store);
    await reader.refresh();
    held.down = true;
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    expect(namesIn(reader)).toEqual(['a']);
    expect(reader.status().lastError).toBe('the registry is down');
    held.down = false;
    await reader.refresh();
    expect(reader.status().lastError).toBeUndefined();
  });

  it('does not bring replaced segments back while a checkpoint cannot be fetched', async () => {
    const held = watched();
    const cache = new CacheBuilder(held.store);
    await cache.publish({ at: day(0), paths: ['a', 'old'], roots: ['old'] });
    await cache.publish({ at: day(50), paths: [{ name: 'b', references: ['a'] }], roots: ['b'] });
    await gcAt(held.store, day(60));
    const { reader } = await openWatched(held.store);
    await reader.refresh();
    const [checkpoint] = [...held.store.tags.keys()].filter((tag) => parseTag(tag)?.kind === 'checkpoint');
    held.hook = (method, [target]) => {
      if (method !== 'fetchBlob' || (target as { digest: Digest }).digest !== parseTag(checkpoint ?? '')?.id) return;
      throw new NixcacheError('ERR_NETWORK', 'cut off');
    };
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    expect(namesIn(reader)).toEqual(['a', 'b']);
  });
});

describe('damage', () => {
  /** A cache of two segments, `a` and `b`. */
  async function cacheOf(): Promise<Watched> {
    const held = watched();
    const cache = new CacheBuilder(held.store);
    await cache.publish({ at: day(0), paths: ['a'] });
    await cache.publish({ at: day(1), paths: ['b'] });
    return held;
  }
  const damages: readonly (readonly [string, (store: MemoryStore) => unknown, string, readonly string[]])[] = [
    [
      'a segment whose entries are gone',
      (store) => store.blobs.delete(parseTag(segmentTags(store)[0] ?? '')?.id as Digest),
      'ERR_INDEX',
      ['b'],
    ],
    [
      'a segment whose entries are others',
      (store) => store.blobs.set(parseTag(segmentTags(store)[0] ?? '')?.id as Digest, Buffer.from('x')),
      'ERR_DIGEST_MISMATCH',
      ['b'],
    ],
    [
      'a segment of garbage',
      (store) => {
        const garbage = Buffer.from('garbage');
        store.blobs.set(digestOf(garbage), garbage);
        store.tags.set(segmentTag(digestOf(garbage), day(2)), store.tags.get(CACHE_INDEX_TAG) as Digest);
      },
      'ERR_INDEX',
      ['a', 'b'],
    ],
    [
      'a checkpoint whose config is gone',
      (store) =>
        store.tags.set(
          `ckpt-${segmentTag(digestOf(Buffer.from('x')), day(2)).slice(4)}`,
          store.tags.get(CACHE_INDEX_TAG) as Digest,
        ),
      'ERR_INDEX',
      ['a', 'b'],
    ],
    [
      'a cache-index that is no index',
      (store) => store.tags.set(CACHE_INDEX_TAG, store.tags.get(segmentTags(store)[0] ?? '') as Digest),
      'ERR_INDEX',
      ['a', 'b'],
    ],
    [
      'a tag of a newer format',
      (store) => store.tags.set('seg2-x', store.tags.get(CACHE_INDEX_TAG) as Digest),
      'ERR_INDEX_VERSION',
      ['a', 'b'],
    ],
  ];

  it.each(damages)('%s stops writers', async (_, damage, code) => {
    const { store } = await cacheOf();
    damage(store);
    const { reader } = await openWatched(store, { strict: true });
    await expect(reader.refresh()).rejects.toMatchObject({ code });
    expect(reader.status()).toMatchObject({ entries: 0, generation: 0 });
  });

  it.each(damages)('%s leaves readers the rest, with a warning', async (_, damage, __, rest) => {
    const { store } = await cacheOf();
    damage(store);
    const { reader, warnings } = await openWatched(store);
    await reader.refresh();
    expect(namesIn(reader)).toEqual(rest);
    expect(warnings).toHaveLength(1);
  });

  it('of the only index there is never reads as an empty cache: a reader keeps what it knew', async () => {
    const { store } = await cacheOf();
    const { reader } = await openWatched(store);
    await reader.refresh();
    const foreign = store.tags.get(segmentTags(store)[0] ?? '') as Digest;
    store.tags.clear();
    store.tags.set(CACHE_INDEX_TAG, foreign);
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_INDEX' });
    expect(namesIn(reader)).toEqual(['a', 'b']);
  });

  it('is not seen in a stale cache-index that lists a deleted segment', async () => {
    const { store } = await cacheOf();
    const [tag = ''] = segmentTags(store);
    store.blobs.delete(parseTag(tag)?.id as Digest);
    store.tags.delete(tag);
    const { reader, warnings } = await openWatched(store, { strict: true });
    await reader.refresh();
    expect(namesIn(reader)).toEqual(['b']);
    expect(warnings).toEqual([expect.stringContaining('is left out')]);
  });

  it('is not assumed when a listed segment merely cannot be fetched', async () => {
    const held = await cacheOf();
    const [tag = ''] = segmentTags(held.store);
    held.store.tags.delete(tag);
    held.hook = (method, [target]) => {
      const { digest } = target as { digest?: Digest };
      if (method === 'fetchBlob' && digest === parseTag(tag)?.id) throw new NixcacheError('ERR_NETWORK', 'cut off');
    };
    const { reader } = await openWatched(held.store, { strict: true });
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_NETWORK' });
  });
});

describe('a refresh that several wait for', () => {
  it("outlives the abort of the one who began it, which is nobody else's error", async () => {
    const held = watched();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    const { reader } = await openWatched(held.store);
    const first = new AbortController();
    held.hook = () => first.abort(new Error('gone'));
    const [began, joined] = await Promise.allSettled([reader.refresh({ signal: first.signal }), reader.refresh()]);
    expect(began).toMatchObject({ status: 'rejected', reason: new Error('gone') });
    expect(joined).toMatchObject({ status: 'fulfilled', value: { addedSegments: 1 } });
    expect(reader.status()).toMatchObject({ entries: 1, lastError: undefined });
  });
});

describe('a cache that was there', () => {
  const emptied = async (options: Partial<IndexReaderOptions> & { readonly directory?: string }) => {
    const store = new MemoryStore();
    await new CacheBuilder(store).publish({ at: day(0), paths: ['a'] });
    const first = await openWatched(store, options);
    await first.reader.refresh();
    store.tags.clear();
    return { store, first };
  };

  it('is not believed to be empty: readers keep what they have', async () => {
    const { first } = await emptied({});
    await expect(first.reader.refresh()).rejects.toMatchObject({ code: 'ERR_INDEX' });
    expect(namesIn(first.reader)).toEqual(['a']);
    expect(first.reader.status().lastError).toContain('neither cache-index nor');
  });

  it('nor by the next process, a writer, that finds what is remembered of it', async () => {
    const directory = await tempDir();
    const { store } = await emptied({ directory });
    const { reader } = await openWatched(store, { directory, strict: true });
    await expect(reader.refresh()).rejects.toThrow(directory);
  });

  it('and may be empty with its cache-index', async () => {
    const { store, first } = await emptied({});
    await refreshCacheIndex(store, {
      ...{
        view: {
          ...viewOf(first.reader),
          descriptors: new Map(),
          live: { segments: [], checkpoints: [], replaced: new Set() },
        },
      },
      ...{ added: [], publicKeys: [], now: day(1) },
    });
    await first.reader.refresh();
    expect(namesIn(first.reader)).toEqual([]);
  });
});

function viewOf({ view }: IndexReader): NonNullable<IndexReader['view']> {
  if (!view) throw new Error('never refreshed');
  return view;
}
