import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { byTime, liveSet } from '../../src/cache-index/live-set.ts';
import { currentPins, mergePins, mergeRoots } from '../../src/cache-index/records.ts';
import { checkpointTag, isNewerTag, parseTag, recordTag, segmentTag } from '../../src/cache-index/tags.ts';
import { digestFromHex, digestOf } from '../../src/oci/digest.ts';
import { anyCheckpointTag, anySegmentTag, pin, root } from '../support/cache-arbitraries.ts';
import { baseNameFor } from '../support/cache-builder.ts';
import { checkpointOfDay as c, segmentOfDay as s } from '../support/gc-inputs.ts';

const live = (
  tags: readonly string[],
  listed: readonly string[],
  checkpoints: Readonly<Record<string, { replaces?: string[]; segments?: string[] }>>,
) =>
  liveSet({
    tags,
    listed,
    checkpoints: new Map(
      Object.entries(checkpoints).map(([tag, { replaces = [], segments = [] }]) => [tag, { replaces, segments }]),
    ),
  });

describe('the live set', () => {
  it('is what tags, cache-index and checkpoints name, less what any checkpoint replaces', () => {
    const set = live([s(3), s(1), c(2), 'latest'], [s(4), s(1)], { [c(2)]: { replaces: [s(1)], segments: [s(5)] } });
    expect(set).toEqual({ segments: [s(3), s(4), s(5)], checkpoints: [c(2)], replaced: new Set([s(1)]) });
  });

  it('takes no segment from a checkpoint that is replaced, but keeps what that one killed dead', () => {
    const set = live([s(1)], [], {
      [c(2)]: { replaces: [s(1)], segments: [s(9)] },
      [c(3)]: { replaces: [c(2)] },
    });
    expect(set).toEqual({ segments: [], checkpoints: [c(3)], replaced: new Set([s(1), c(2)]) });
  });

  it('holds nothing but segments', () => {
    expect(live(['x', c(1)], ['y'], { [c(1)]: { segments: ['z', c(4)] } }).segments).toEqual([]);
  });
});

describe('tags', () => {
  const id = digestFromHex('ab'.repeat(32));
  const at = new Date('2026-11-20T12:00:00.123Z');

  it('carry kind, time and id', () => {
    expect(parseTag(segmentTag(id, at))).toMatchObject({ kind: 'segment', time: at.getTime(), id });
    expect(parseTag(checkpointTag(id, at))).toMatchObject({ kind: 'checkpoint', time: at.getTime(), id });
    expect(parseTag(recordTag(checkpointTag(id, at)))).toMatchObject({ kind: 'record', time: at.getTime(), id });
  });

  it('are never twice the same', () => {
    expect(segmentTag(id, at)).not.toBe(segmentTag(id, at));
  });

  it.each([
    'cache-index',
    'latest',
    'seg-',
    'seg-01-ab',
    `segx-${segmentTag(id, at).slice(4)}`,
    `${segmentTag(id, at)}0`,
  ])('%s is not one of ours', (tag) => {
    expect(parseTag(tag)).toBeUndefined();
    expect(isNewerTag(tag)).toBe(false);
  });

  it('of a later format are known as such', () => {
    expect(['seg2-x', 'ckpt10-x', 'rec3-x'].every(isNewerTag)).toBe(true);
    expect(parseTag('seg2-x')).toBeUndefined();
  });
});

test('tags are valid in registries, parse back and sort by time', () => {
  fc.assert(
    fc.property(anySegmentTag(), anyCheckpointTag(), (a, b) => {
      for (const tag of [a, b]) expect(tag).toMatch(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/);
      const [x, y] = [parseTag(a)?.time ?? 0, parseTag(b)?.time ?? 0];
      if (x !== y) expect(byTime(a, b) < 0).toBe(x < y);
    }),
  );
});

/** What one reader learned; several are merged by joining their lists. */
const knowledge = () =>
  fc.record({
    tags: fc.subarray([s(1), s(2), s(3), s(4), c(5), c(6), c(7)]),
    listed: fc.subarray([s(1), s(2), s(3), s(4)]),
    checkpoints: fc.subarray([c(5), c(6), c(7)]),
  });
const CHECKPOINTS = {
  [c(5)]: { replaces: [s(1)], segments: [s(3)] },
  [c(6)]: { replaces: [c(5), s(1), s(2)], segments: [s(4)] },
  [c(7)]: { replaces: [s(3)], segments: [s(4), s(2)] },
};
type Knowledge = { readonly tags: string[]; readonly listed: string[]; readonly checkpoints: string[] };
const joined = (...all: Knowledge[]) =>
  live(
    all.flatMap(({ tags }) => tags),
    all.flatMap(({ listed }) => listed),
    Object.fromEntries(all.flatMap(({ checkpoints }) => checkpoints.map((tag) => [tag, CHECKPOINTS[tag] ?? {}]))),
  );
const shown = (set: ReturnType<typeof liveSet>) => ({ ...set, replaced: [...set.replaced].sort() });

test('the live set does not depend on the order or the number of times that things are learned', () => {
  fc.assert(
    fc.property(knowledge(), knowledge(), knowledge(), (x, y, z) => {
      const whole = shown(joined(x, y, z));
      expect(shown(joined(z, y, x))).toEqual(whole);
      expect(shown(joined(y, x, z, y, x))).toEqual(whole);
    }),
  );
});

test('learning more never brings a replaced segment back', () => {
  fc.assert(
    fc.property(knowledge(), knowledge(), (x, y) => {
      const before = joined(x);
      for (const tag of joined(x, y).segments) expect(before.replaced.has(tag)).toBe(false);
    }),
  );
});

test.each([
  ['roots', root(), mergeRoots as (lists: never[][]) => unknown[]],
  ['pins', pin(), mergePins as (lists: never[][]) => unknown[]],
])('merging %s is commutative, associative and idempotent', (_, record, merge) => {
  const list = fc.array(record as fc.Arbitrary<never>, { maxLength: 6 });
  fc.assert(
    fc.property(list, list, list, (x, y, z) => {
      expect(merge([y, x])).toEqual(merge([x, y]));
      expect(merge([merge([x, y]) as never[], z])).toEqual(merge([x, merge([y, z]) as never[]]));
      expect(merge([merge([x, y]) as never[], x])).toEqual(merge([x, y]));
    }),
  );
});

it('merges the records of more segments than a call takes arguments', () => {
  const lists = Array.from({ length: 200_000 }, (): never[] => []);
  expect([mergeRoots(lists), mergePins(lists)]).toEqual([[], []]);
});

it('has the newest record of a name as its pin, unless that removed it', () => {
  const [p1, p2] = [baseNameFor('p1'), baseNameFor('p2')];
  const pins = [
    { name: 'a', path: p2, time: 2 },
    { name: 'a', path: p1, time: 1 },
    { name: 'b', path: p1, time: 1 },
    { name: 'b', time: 2, removed: true },
    { name: 'c', time: 2, removed: true },
    { name: 'c', path: p2, time: 3 },
  ];
  expect(currentPins(pins).map(({ name, path }) => [name, path])).toEqual([
    ['a', p2],
    ['c', p2],
  ]);
});

it('tells digests of different bytes apart in tags', () => {
  const now = new Date();
  expect(parseTag(segmentTag(digestOf(Buffer.from('a')), now))?.id).not.toBe(digestOf(Buffer.from('b')));
});
