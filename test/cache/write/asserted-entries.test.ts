import { expect, it } from 'vitest';
import { findDueEntries } from '../../../src/cache/write/asserted-entries.ts';
import { nameOf } from '../../../src/nix/store-path.ts';
import { CacheBuilder, hashPartFor, openReader } from '../../support/cache-builder.ts';
import { DAY_SECONDS, day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';

async function dueAt(days: number): Promise<string[]> {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['libc', { name: 'zlib', references: ['libc'] }, 'other'] });
  await cache.publish({ at: day(2), paths: [{ name: 'ssl', references: ['libc', 'zlib'] }] });
  await cache.publish({ at: day(10), paths: [{ name: 'app', references: ['ssl', 'zlib'] }] });
  const { entries: due } = await findDueEntries({
    ...{ store, reader: await openReader(store), hashParts: [hashPartFor('app')] },
    before: day(days).getTime() / 1000,
  });
  return due.map(({ entry }) => nameOf(entry.narInfo.path));
}

it('finds what a closure needs and was asserted before a time, references first', async () => {
  expect(await dueAt(11)).toEqual(['libc', 'zlib', 'ssl', 'app']);
  expect(await dueAt(9)).toEqual(['libc', 'zlib', 'ssl']);
  expect(await dueAt(0)).toEqual([]);
});

it('gives each entry the blobs that hold it', async () => {
  const store = new MemoryStore();
  await new CacheBuilder(store).publish({ at: day(0), paths: ['a'], packed: false });
  const {
    entries: [due],
  } = await findDueEntries({
    ...{ store, reader: await openReader(store), hashParts: [hashPartFor('a')] },
    before: day(0).getTime() / 1000 + DAY_SECONDS,
  });
  const held = new Set(due?.blobs.map(({ digest }) => digest));
  const needed = [...(due?.entry.nar ?? []), ...(due?.entry.listing?.extents ?? [])].map(({ digest }) => digest);
  expect(held).toEqual(new Set(needed));
  expect(held.size).toBe(2);
});
