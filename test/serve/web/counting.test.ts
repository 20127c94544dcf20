import { describe, expect, it } from 'vitest';
import type { CacheContents, CacheRecords, ListedSegment } from '../../../src/cache/read/cache-reader.ts';
import { DamagedCopy } from '../../../src/cache/read/mirror.ts';
import type { Entry } from '../../../src/cache-index/entry.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { hashFromHex } from '../../../src/nix/hash.ts';
import { toStorePath } from '../../../src/nix/store-path.ts';
import { Counting } from '../../../src/serve/web/counting.ts';
import { baseNameFor } from '../../support/cache-builder.ts';

const HASH = hashFromHex('00'.repeat(32));
const NO_RECORDS: CacheRecords = { roots: [], pins: [], unreadable: [], retainSeconds: undefined };
/** Longer than a test lasts. */
const LONG_MS = 1e9;

function entryOf(number: number): Entry {
  const path = toStorePath(baseNameFor(`n${number}`));
  const info = { path, url: 'nar/x', compression: 'none', fileHash: HASH, narHash: HASH, references: [], sigs: [] };
  return { narInfo: { ...info, narSize: 1, fileSize: 1 }, nar: [] };
}

/** A cache of `count` entries, whose pauses and reads are the test's. */
function setUp(count: number) {
  const cache = {
    ...{ generation: 1, count, refreshes: 0, opened: 0, nowMs: 0, refreshedAt: new Date(0) },
    entryAt: entryOf,
    onPause: async () => {},
    fetchRecords: async () => NO_RECORDS,
    onRefresh: () => {},
  };
  const segment = (): ListedSegment => ({
    tag: 's',
    time: 7,
    rows: { count: cache.count },
    entryAt: (row) => cache.entryAt(row),
  });
  const contents: CacheContents = { segments: () => [segment()], fetchRecords: () => cache.fetchRecords() };
  const status = () => ({
    entries: cache.count,
    segments: 1,
    generation: cache.generation,
    refreshedAt: cache.refreshedAt,
    lastError: undefined,
  });
  const refresh = async () => {
    cache.refreshes++;
    cache.onRefresh();
    return { changed: true, addedSegments: 1, removedSegments: 1, bytes: 0 };
  };
  const openContents = (): CacheContents => {
    cache.opened++;
    return contents;
  };
  const reader = { name: 'test', status, openContents, refresh };
  const counting = new Counting({ reader, pause: () => cache.onPause(), now: () => new Date(cache.nowMs) });
  const count_ = async () => {
    const counted = await counting.look(LONG_MS);
    return counted.state === 'counted' ? counted.figures.total.paths : counted;
  };
  return { cache, counting, count: count_ };
}

describe('counting', () => {
  it('tells how far it is to whoever does not wait for its end, and is done once for all', async () => {
    const { cache, counting, count } = setUp(2000);
    const { promise: paused, resolve: goOn } = Promise.withResolvers<void>();
    let pauses = 0;
    cache.onPause = () => (++pauses === 3 ? paused : Promise.resolve());
    const first = await counting.look(1);
    expect(first).toEqual({ state: 'counting', progress: expect.closeTo(0.07, 1) });
    const all = Promise.all([count(), count()]);
    goOn();
    expect(await all).toEqual([2000, 2000]);
    expect(await count()).toBe(2000);
    expect(pauses).toBeGreaterThan(10);
  });

  it('begins anew when the index has changed, also in the middle', async () => {
    const { cache, counting, count } = setUp(2000);
    let pauses = 0;
    cache.onPause = async () => {
      if (++pauses !== 3) return;
      cache.generation++;
      cache.count = 10;
      cache.entryAt = (row) => {
        if (row >= 10) throw new Error('it reads on in what is closed');
        return entryOf(row);
      };
    };
    await counting.look(LONG_MS);
    expect(await count()).toBe(10);
    cache.generation++;
    cache.count = 5;
    expect(await count()).toBe(5);
  });

  it('leaves out what cannot be read, and has what is damaged fetched again', async () => {
    const { cache, count, counting } = setUp(20);
    let isDamaged = true;
    cache.entryAt = (row) => {
      if (row === 3) throw new NixcacheError('ERR_FORMAT', 'no entry');
      if (row === 9 && isDamaged) throw new DamagedCopy('it');
      return entryOf(row);
    };
    cache.onRefresh = () => {
      isDamaged = false;
      cache.generation++;
    };
    await counting.look(LONG_MS);
    expect(cache.refreshes).toBe(1);
    expect(await count()).toBe(19);
    expect(await counting.look(1)).toMatchObject({ figures: { unreadable: 1 } });
  });

  it('says why it failed', async () => {
    const { cache, count } = setUp(2);
    cache.entryAt = () => {
      throw new NixcacheError('ERR_IO', 'the disk is gone');
    };
    expect(await count()).toEqual({ state: 'failed', error: 'the disk is gone' });
  });

  it('lets everything go ten minutes after the last look, and counts again at the next', async () => {
    const { cache, counting, count } = setUp(2);
    await count();
    await counting.records(LONG_MS);
    cache.nowMs = 599_999;
    counting.review();
    await count();
    expect(cache.opened).toBe(1);
    cache.nowMs += 600_000;
    counting.review();
    expect(await count()).toBe(2);
    expect(cache.opened).toBe(2);
  });
});

describe('roots and pins', () => {
  it('are read once for each refresh; meanwhile those from before are told, if there are any', async () => {
    const { cache, counting } = setUp(0);
    let fetches = 0;
    const { promise, resolve } = Promise.withResolvers<CacheRecords>();
    cache.fetchRecords = () => (++fetches === 1 ? promise : Promise.resolve({ ...NO_RECORDS, unreadable: ['x'] }));
    expect(await counting.records(1)).toBeUndefined();
    resolve(NO_RECORDS);
    expect(await counting.records(LONG_MS)).toBe(NO_RECORDS);
    expect(await counting.records(LONG_MS)).toBe(NO_RECORDS);
    expect(fetches).toBe(1);
    cache.refreshedAt = new Date(1);
    cache.fetchRecords = () => new Promise(() => {});
    expect(await counting.records(1)).toBe(NO_RECORDS);
  });

  it('that cannot be read are asked for again', async () => {
    const { cache, counting } = setUp(0);
    cache.fetchRecords = () => Promise.reject(new NixcacheError('ERR_NETWORK', 'away'));
    await expect(counting.records(LONG_MS)).rejects.toThrow('away');
    cache.fetchRecords = async () => NO_RECORDS;
    expect(await counting.records(LONG_MS)).toBe(NO_RECORDS);
  });

  it('are not waited for by who leaves', async () => {
    const { cache, counting } = setUp(0);
    cache.fetchRecords = () => new Promise(() => {});
    await expect(counting.records(LONG_MS, { signal: AbortSignal.abort(new Error('left')) })).rejects.toThrow('left');
  });
});
