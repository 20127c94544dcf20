import { describe, expect, it } from 'vitest';
import { planSegments } from '../../src/copy/segment-plan.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import { baseNameFor, CacheBuilder, openReader, type PathSpec } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

type Segment = readonly (PathSpec | string)[];

async function cacheOf(segments: readonly Segment[], from = 0) {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  const tags: string[] = [];
  for (const [i, paths] of segments.entries()) tags.push((await cache.publish({ at: day(from + i), paths })).tag);
  return { store, cache, tags };
}

/** Positions of the source's segments that are taken whole, and of those that are not, where nothing else forbids it. */
async function planned(source: MemoryStore, destination: MemoryStore, tags: readonly string[], ineligible = -1) {
  const plan = planSegments({
    source: await openReader(source),
    destination: await openReader(destination),
    isEligible: ({ tag }) => tags.indexOf(tag) !== ineligible,
  });
  const positions = (segments: typeof plan.whole): number[] => segments.map(({ tag }) => tags.indexOf(tag));
  return { whole: positions(plan.whole), apart: positions(plan.apart), has: plan.has };
}

const needs = (name: string, ...references: string[]): PathSpec => ({ name, references });

describe('segments that can be taken over as they are', () => {
  it('come in an order in which each finds its references, whatever order they were written in', async () => {
    const { store, tags } = await cacheOf([[needs('top', 'mid')], [needs('mid', 'low')], ['low']]);
    expect(await planned(store, new MemoryStore(), tags)).toMatchObject({ whole: [2, 1, 0], apart: [] });
  });

  it('count each path once, where the first of them brings it', async () => {
    const { store, tags } = await cacheOf([['a', 'b'], ['b', 'c'], ['there']]);
    const { store: destination } = await cacheOf([['there']]);
    const input = { source: await openReader(store), destination: await openReader(destination) };
    const { brings } = planSegments({ ...input, isEligible: () => true });
    expect([...brings]).toEqual([tags[0], tags[1], tags[2]].flatMap((tag, i) => [[tag, [2, 1, 0][i]]]));
  });

  it('wait for all that they need', async () => {
    for (const names of [
      ['a', 'b'],
      ['b', 'a'],
    ]) {
      const { store, tags } = await cacheOf([[needs('app', ...names)], ...names.map((name) => [name])]);
      expect(await planned(store, new MemoryStore(), tags)).toMatchObject({ whole: [1, 2, 0], apart: [] });
    }
  });

  it('are those whose references the destination has, or that nobody in the source has', async () => {
    const { store, tags } = await cacheOf([[needs('app', 'lib', 'upstream')], ['lib']]);
    const { store: destination } = await cacheOf([['lib']], 5);
    expect(await planned(store, destination, tags)).toMatchObject({ whole: [0], apart: [1] });
  });

  it('are none that refer to each other in a circle, and none that need those', async () => {
    const { store, tags } = await cacheOf([[needs('a', 'b'), 'c'], [needs('b', 'c')], [needs('d', 'a')], ['free']]);
    expect(await planned(store, new MemoryStore(), tags)).toMatchObject({ whole: [3], apart: [0, 1, 2] });
  });

  it('are none that may not be, and none that need those', async () => {
    const { store, tags } = await cacheOf([['lib'], [needs('app', 'lib')], ['free']]);
    expect(await planned(store, new MemoryStore(), tags, 0)).toMatchObject({ whole: [2], apart: [0, 1] });
  });

  it('are none whose entries the destination has, asserted as late; but those asserted since', async () => {
    const source = await cacheOf([['a'], ['b']]);
    const later = await cacheOf([['a', 'b']], 9);
    expect(await planned(source.store, later.store, source.tags)).toMatchObject({ whole: [], apart: [0, 1] });
    const fresh = await cacheOf([['a'], ['b']], 12);
    expect(await planned(fresh.store, later.store, fresh.tags)).toMatchObject({ whole: [0, 1], apart: [] });
  });

  it('are none that are there, and none that a gc of the destination has made dead', async () => {
    const { store, tags } = await cacheOf([['old'], ['new']]);
    const destination = new MemoryStore();
    for (const map of ['blobs', 'manifests', 'tags'] as const) {
      for (const [key, value] of store[map]) destination[map].set(key as never, value as never);
    }
    expect(await planned(store, destination, tags)).toMatchObject({ whole: [], apart: [] });
    await gcAt(destination, day(31.5), { graceSeconds: 0 });
    expect(await planned(store, destination, tags)).toMatchObject({ whole: [], apart: expect.arrayContaining([0]) });
  });
});

it('what the destination has, or gets with a whole segment, is known', async () => {
  const { store, tags } = await cacheOf([['lib'], [needs('a', 'b')], [needs('b', 'a')]]);
  const { store: destination } = await cacheOf([['own']]);
  const { has } = await planned(store, destination, tags);
  const known = ['own', 'lib', 'a', 'b'].map((name) => has(hashPartOf(baseNameFor(name))));
  expect(known).toEqual([true, true, false, false]);
});
