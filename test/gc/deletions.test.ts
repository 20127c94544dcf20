import { expect, it } from 'vitest';
import { recordTag } from '../../src/cache-index/tags.ts';
import { planDeletions } from '../../src/gc/deletions.ts';
import { checkpointOfDay, segmentOfDay } from '../support/gc-inputs.ts';
import { DAY_SECONDS, day } from '../support/gc-runs.ts';

const s = segmentOfDay;
const c = checkpointOfDay;
const r = (days: number): string => recordTag(checkpointOfDay(days));

interface Case {
  readonly tags: readonly string[];
  readonly listed?: readonly string[];
  readonly checkpoints: Readonly<Record<string, readonly string[]>>;
  readonly today: number;
}

const plan = ({ tags, listed = [], checkpoints, today }: Case) =>
  planDeletions({
    tags: new Set(tags),
    listed: new Set(listed),
    checkpoints: new Map(Object.entries(checkpoints).map(([tag, replaces]) => [tag, { replaces }])),
    now: day(today).getTime(),
    graceSeconds: DAY_SECONDS,
  });

it('lets what was replaced wait for the grace period, by the time of the checkpoint that replaced it', () => {
  const cache = { tags: [s(1), s(9), c(10), r(10)], checkpoints: { [c(10)]: [s(1)] } };
  expect(plan({ ...cache, today: 10.9 })).toEqual({
    due: [],
    waiting: [{ tag: s(1), until: day(11).getTime() }],
  });
  expect(plan({ ...cache, today: 11 })).toEqual({ due: [{ tag: s(1), why: 'replaced' }], waiting: [] });
});

it('counts from the first checkpoint that replaced it', () => {
  const checkpoints = { [c(10)]: [s(1)], [c(20)]: [s(1), c(10)] };
  const { due } = plan({ tags: [s(1), c(10), c(20)], checkpoints, today: 20.5 });
  expect(due).toEqual([{ tag: s(1), why: 'replaced' }]);
});

it('keeps a checkpoint while something it killed is left, unless a live one carries that on', () => {
  const dead = { tags: [s(1), c(10), r(10), c(20), r(20)], today: 30 };
  expect(plan({ ...dead, checkpoints: { [c(10)]: [s(1)], [c(20)]: [c(10)] } })).toEqual({
    due: [{ tag: s(1), why: 'replaced' }],
    waiting: [{ tag: c(10), until: undefined }],
  });
  expect(plan({ ...dead, checkpoints: { [c(10)]: [s(1)], [c(20)]: [c(10), s(1)] } }).due.map(({ tag }) => tag)).toEqual(
    [c(10), r(10), s(1)],
  );
  const gone = { ...dead, tags: dead.tags.slice(1), checkpoints: { [c(10)]: [s(1)], [c(20)]: [c(10)] } };
  expect(plan(gone).due.map(({ tag }) => tag)).toEqual([c(10), r(10)]);
});

it('keeps a checkpoint while cache-index lists what it killed', () => {
  const checkpoints = { [c(10)]: [s(1)], [c(20)]: [c(10)] };
  expect(plan({ tags: [c(10), c(20)], listed: [s(1)], checkpoints, today: 30 }).due).toEqual([]);
});

it('never deletes a live checkpoint, nor a checkpoint that nobody has read', () => {
  const checkpoints = { [c(10)]: [c(5)] };
  expect(plan({ tags: [c(5), c(10), c(20)], checkpoints, today: 100 })).toEqual({
    due: [],
    waiting: [{ tag: c(5), until: undefined }],
  });
});

it('leaves alone what it does not know', () => {
  const tags = ['latest', 'seg-mine', 'cache-index', 'seg2-01-00'];
  expect(plan({ tags, checkpoints: { [c(10)]: tags }, today: 100 })).toEqual({ due: [], waiting: [] });
});

it('removes the record of a checkpoint that was never written, once no gc can be about to write it', () => {
  expect(plan({ tags: [r(10)], checkpoints: {}, today: 39 }).waiting).toHaveLength(1);
  expect(plan({ tags: [r(10)], checkpoints: {}, today: 41 }).due).toEqual([{ tag: r(10), why: 'unfinished' }]);
});
