/** Deleting where nobody promises that blobs stay which a deleted manifest shares with others. */
import { describe, expect, it } from 'vitest';
import { Census } from '../../src/census/census.ts';
import { NixcacheError } from '../../src/errors.ts';
import { deleteWatched } from '../../src/gc/batches.ts';
import {
  type DeletionOptions,
  type DeletionReport,
  DistributionDeleter,
  type ManifestDeleter,
  type UnneededManifest,
} from '../../src/gc/deleter.ts';
import { Survivors } from '../../src/gc/survivors.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { CacheBuilder, hashPartFor, namesIn, openReader } from '../support/cache-builder.ts';
import { DAY_SECONDS, day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

/** Deletes two at a time from a memory store. */
class BatchedDeleter implements ManifestDeleter {
  readonly batchSize = 2;
  readonly batches: string[][] = [];
  readonly #store: MemoryStore;
  readonly #afterBatch: (batch: readonly UnneededManifest[]) => Partial<DeletionReport> | undefined;

  constructor(
    store: MemoryStore,
    afterBatch: (batch: readonly UnneededManifest[]) => Partial<DeletionReport> | undefined,
  ) {
    this.#store = store;
    this.#afterBatch = afterBatch;
  }

  async deleteManifests(list: readonly UnneededManifest[], options?: DeletionOptions): Promise<DeletionReport> {
    this.batches.push(list.map(({ tag }) => tag));
    const report = await new DistributionDeleter(this.#store).deleteManifests(list, options);
    return { ...report, ...this.#afterBatch(list) };
  }

  restoreAdvice = (tags: readonly string[]): string => `bring back ${tags.length}`;
}

/** A cache with seven replaced segments that are due, all of which hold the NAR `lib`, which is needed. */
async function due(): Promise<{ store: MemoryStore; lib: Digest; dead: Digest }> {
  const made = await published();
  await gcAt(made.store, day(60));
  return made;
}

async function published(): Promise<{ store: MemoryStore; lib: Digest; dead: Digest }> {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['lib'], packed: false });
  for (let i = 1; i < 7; i++) {
    const paths = [{ name: `p${i}`, references: ['lib'] }];
    await cache.publish({ at: day(i), paths, asserted: ['lib'], roots: [`p${i}`], packed: false });
  }
  const reader = await openReader(store);
  const narOf = (name: string): Digest => reader.findEntry(hashPartFor(name))?.nar[0]?.digest as Digest;
  return { store, lib: narOf('lib'), dead: narOf('p1') };
}

describe('what was not tried is told, however much it is', () => {
  const error = new NixcacheError('ERR_FORBIDDEN', 'not today');
  const list = Array.from({ length: 300_000 }, (_, i) => ({ tag: `seg-${i}`, digest: digestOf(Buffer.of(1)) }));

  it('when a batch is the last for now', async () => {
    const deleter: ManifestDeleter = {
      batchSize: 2,
      deleteManifests: async () => ({ deleted: [], failed: [], stopped: error }),
    };
    const openSurvivors = () =>
      new Survivors(new MemoryStore(), new Census(), { untouched: [], outputs: [], packs: [] });
    const { failed } = await deleteWatched(list, deleter, { name: 'cache', openSurvivors });
    expect(failed).toHaveLength(list.length - 2);
  });

  it('when the registry refuses every deletion', async () => {
    const store = new MemoryStore();
    store.deleteManifest = () => Promise.reject(error);
    const { failed } = await new DistributionDeleter(store).deleteManifests(list);
    expect(failed).toHaveLength(list.length);
  });
});

describe('gc with a deleter that works in batches', () => {
  it('deletes them one after another, and tells of progress over all', async () => {
    const { store } = await due();
    const deleter = new BatchedDeleter(store, () => undefined);
    const { report, events } = await gcAt(store, day(62), { deleter });
    expect(deleter.batches.map(({ length }) => length)).toEqual([2, 2, 2, 1]);
    expect(report).toMatchObject({ deletedManifests: 7, notFreed: [] });
    expect(events.filter(({ type }) => type === 'deleted')).toEqual(
      [1, 2, 3, 4, 5, 6, 7].map((done) => ({ type: 'deleted', done, total: 7 })),
    );
    expect(await namesIn(store)).toEqual(['lib', 'p6']);
  });

  it('stops at the first batch after which a blob that is needed is gone, and says how to bring it back', async () => {
    const { store, lib } = await due();
    let batches = 0;
    const deleter = new BatchedDeleter(store, () => {
      if (++batches === 2) store.blobs.delete(lib);
      return undefined;
    });
    await expect(gcAt(store, day(62), { deleter })).rejects.toMatchObject({
      code: 'ERR_INDEX',
      message: expect.stringMatching(
        `stopped deleting: blob ${lib}.* is gone after 4 manifests were deleted.*\\(bring back 4\\)`,
      ),
    });
    expect(deleter.batches).toHaveLength(2);
  });

  it.each([
    ['what was compacted before', due, day(62), DAY_SECONDS],
    ['what it has just compacted', published, day(60), 0],
  ] as const)('looks after the last batch too, and for %s', async (_, open, at, graceSeconds) => {
    const { store, lib } = await open();
    const deleter = new BatchedDeleter(store, (batch) => {
      if (batch.length === 1) store.blobs.delete(lib);
      return undefined;
    });
    const gc = gcAt(store, at, { deleter, graceSeconds });
    await expect(gc).rejects.toThrow(/is gone after 7 manifests were deleted/);
  });

  it('deletes nothing when one is gone before', async () => {
    const { store, lib } = await due();
    store.blobs.delete(lib);
    const deleter = new BatchedDeleter(store, () => undefined);
    await expect(gcAt(store, day(62), { deleter })).rejects.toThrow(/damaged.*freed nothing/);
    expect(deleter.batches).toEqual([]);
  });

  it('does not mind what goes with reason: blobs that nothing needs any more', async () => {
    const { store, dead } = await due();
    expect(store.blobs.has(dead)).toBe(true);
    const deleter = new BatchedDeleter(store, () => {
      store.blobs.delete(dead);
      return undefined;
    });
    await expect(gcAt(store, day(62), { deleter })).resolves.toMatchObject({ report: { deletedManifests: 7 } });
  });

  it('nor a pack that is mostly dead, whose live pieces it has just moved', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'b', 'c', 'd'].map((name) => ({ name, bytes: 1000 })) });
    await cache.publish({ at: day(40), asserted: ['a'] });
    const pack = (await openReader(store)).findEntry(hashPartFor('a'))?.nar[0]?.digest as Digest;
    const deleter = new BatchedDeleter(store, () => {
      store.blobs.delete(pack);
      return undefined;
    });
    const { report } = await gcAt(store, day(60), { deleter, graceSeconds: 0 });
    expect(report).toMatchObject({ packs: { rewritten: 1 }, deletedManifests: 2 });
    expect(store.blobs.has(pack)).toBe(false);
    await cache.expectReadable(['a']);
  });

  it('asks no further once the deleter says that nothing more can be deleted', async () => {
    const { store } = await due();
    const stopped = new NixcacheError('ERR_REGISTRY', 'enough for today');
    const deleter = new BatchedDeleter(store, () => ({ stopped }));
    const { report } = await gcAt(store, day(62), { deleter });
    expect(deleter.batches).toHaveLength(1);
    expect(report.deletedManifests).toBe(2);
    expect(report.notFreed).toMatchObject([{ reason: 'enough for today', tags: { length: 5 } }]);
  });

  it('stops when it cannot look', async () => {
    const { store } = await due();
    const deleter = new BatchedDeleter(store, () => {
      store.hasBlob = async () => {
        throw new NixcacheError('ERR_NETWORK', 'cut off');
      };
      return undefined;
    });
    await expect(gcAt(store, day(62), { deleter })).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    expect(deleter.batches).toHaveLength(1);
  });
});
