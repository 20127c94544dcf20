import { expect, it } from 'vitest';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { baseNameFor, CacheBuilder } from '../../support/cache-builder.ts';
import { day, gcAt } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';

it('roots and pins of a segment are fetched once, those of new ones and of a gc besides', async () => {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  const pins = [{ name: 'p', path: baseNameFor('a'), time: 1 }];
  await cache.publish({ at: day(0), paths: ['a'], roots: ['a'], pins });
  const reader = await IndexReader.open({ store, strict: false });
  const contents = reader.openContents();
  await expect(contents.fetchRecords()).rejects.toThrow('was not read yet');
  await reader.refresh();
  const fetched: string[] = [];
  const fetchManifest = store.fetchManifest.bind(store);
  store.fetchManifest = (reference, options) => {
    fetched.push(reference);
    return fetchManifest(reference, options);
  };
  const names = async () => (await contents.fetchRecords()).roots.map(({ name }) => name);
  expect(await names()).toEqual(['a']);
  expect(fetched).toHaveLength(1);
  await cache.publish({ at: day(1), paths: ['b'], roots: ['b'] });
  await reader.refresh();
  fetched.length = 0;
  expect(await names()).toEqual(['a', 'b']);
  expect(await names()).toEqual(['a', 'b']);
  expect(fetched).toHaveLength(1);
  await gcAt(store, day(50));
  await reader.refresh();
  expect(await contents.fetchRecords()).toMatchObject({ pins, unreadable: [], retainSeconds: 30 * 86_400 });
});
