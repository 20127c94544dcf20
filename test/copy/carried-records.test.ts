import { expect, it } from 'vitest';
import { newRoots, unknownRecords } from '../../src/copy/carried-records.ts';
import { toStorePath } from '../../src/nix/store-path.ts';
import { baseNameFor, CacheBuilder, openReader } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';

/** A destination at whose root `old` was published on day 0, and `young` on day 9. */
async function destination() {
  const calls: StoreMethod[] = [];
  const store = new MemoryStore({ onCall: (method) => void calls.push(method) });
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['old'], roots: ['old'] });
  await cache.publish({ at: day(9), paths: ['young'], roots: ['young'] });
  const reader = await openReader(store);
  calls.length = 0;
  return { destination: store, reader, calls };
}

const paths = ['old', 'young', 'new'].map((name) => toStorePath(baseNameFor(name)));
const names = (roots: readonly { readonly name: string }[]): string[] => roots.map(({ name }) => name);

it('paths become roots once a day, and always with what is written anyway', async () => {
  const { calls, ...there } = await destination();
  const options = { ...there, run: 'run-1', now: () => day(9.5), withEntries: false };
  expect(names(await newRoots(paths, options))).toEqual(['old', 'new']);
  expect(names(await newRoots(paths, { ...options, now: () => day(10.5) }))).toEqual(['old', 'young', 'new']);
  calls.length = 0;
  const roots = await newRoots(paths, { ...options, withEntries: true });
  expect(roots).toMatchObject([{ name: 'old', run: 'run-1', time: day(9.5).getTime() / 1000 }, {}, {}]);
  expect(calls).toEqual([]);
});

it('records that the destination has are not written again, and without any nothing is asked', async () => {
  const { calls, ...there } = await destination();
  const time = day(0).getTime() / 1000;
  const known = { name: 'old', path: baseNameFor('old'), system: 'x86_64-linux', source: 'github:owner/repo', time };
  const roots = [
    { ...known, run: `run ${day(0).toISOString()}` },
    { ...known, run: 'another' },
  ];
  const unknown = await unknownRecords({ roots, pins: [] }, there);
  expect(unknown).toEqual({ roots: [roots[1]], pins: [] });
  calls.length = 0;
  expect(await unknownRecords({ roots: [], pins: [] }, there)).toEqual({ roots: [], pins: [] });
  expect(calls).toEqual([]);
});
