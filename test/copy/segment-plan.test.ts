import { expect, it } from 'vitest';
import type { HeldSegment } from '../../src/cache/read/index-reader.ts';
import { planSegments } from '../../src/copy/segment-plan.ts';
import { CacheBuilder, openReader } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

it('looks at each entry a few times, however the segments refer to each other', async () => {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  const many = 60;
  // Each needs the one that is published after it.
  for (let i = 0; i < many; i++) {
    await cache.publish({ at: day(i), paths: [{ name: `p${i}`, references: i + 1 < many ? [`p${i + 1}`] : [] }] });
  }
  const reader = await openReader(store);
  let looks = 0;
  const watched = (segment: HeldSegment): HeldSegment => ({
    ...segment,
    entryAt: (row) => {
      looks++;
      return segment.entryAt(row);
    },
  });
  reader.segments = (
    (original) => () =>
      original.call(reader).map(watched)
  )(reader.segments);
  const destination = await openReader(new MemoryStore());
  const { whole, apart } = planSegments({ source: reader, destination, isEligible: () => true });
  expect(apart).toEqual([]);
  expect(whole.map(({ tag }) => tag)).toEqual(
    reader
      .segments()
      .map(({ tag }) => tag)
      .toReversed(),
  );
  expect(looks).toBeLessThan(4 * many);
});

it('takes apart what refers to each other in circles, and what needs that', async () => {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['a0', { name: 'a1', references: ['b0'] }] });
  await cache.publish({ at: day(1), paths: ['b0', { name: 'b1', references: ['a0'] }] });
  await cache.publish({ at: day(2), paths: [{ name: 'c', references: ['a1', 'd'] }] });
  await cache.publish({ at: day(3), paths: ['d'] });
  const source = await openReader(store);
  const destination = await openReader(new MemoryStore());
  const { whole, apart } = planSegments({ source, destination, isEligible: () => true });
  const tags = source.segments().map(({ tag }) => tag);
  expect(whole.map(({ tag }) => tag)).toEqual(tags.slice(3));
  expect(apart.map(({ tag }) => tag)).toEqual(tags.slice(0, 3));
});
