import { expect, it } from 'vitest';
import { applyRetention } from '../../src/census/retention.ts';
import { baseNameFor } from '../support/cache-builder.ts';
import { rootOf, seconds } from '../support/gc-inputs.ts';
import { DAY_SECONDS } from '../support/gc-runs.ts';

const policy = { now: seconds(100), retainSeconds: 30 * DAY_SECONDS };
const old = rootOf('old', 1);
const before = rootOf('before', 2);
const newest = rootOf('newest', 3);
const sibling = rootOf('sibling', 3);
const mac = rootOf('mac', 1, { system: 'aarch64-darwin' });
const fork = rootOf('fork', 1, { source: 'github:other/repo' });
const recent = rootOf('recent', 71, { source: 'github:other/repo' });
const latest = rootOf('latest', 72, { source: 'github:other/repo' });

it('keeps every root of the newest publish of each source and system, however old', () => {
  const { kept, roots, expired } = applyRetention([mac, newest, old, sibling, before], [], policy);
  expect(kept.map(({ path, reason }) => [path, reason.kind])).toEqual([
    [mac.path, 'newest-publish'],
    [newest.path, 'newest-publish'],
    [sibling.path, 'newest-publish'],
  ]);
  expect(roots).toEqual([mac, newest, sibling]);
  expect(expired).toEqual([old, before]);
});

it('keeps what was published within the retention, to the second', () => {
  const edge = rootOf('edge', 70, { run: 'edge' });
  const over = { ...rootOf('over', 70, { run: 'over' }), time: seconds(70) - 1 };
  const { roots, expired } = applyRetention([edge, over, rootOf('new', 99)], [], policy);
  expect(roots.map(({ name }) => name)).toEqual(['edge', 'new']);
  expect(expired.map(({ name }) => name)).toEqual(['over']);
});

it('tells sources apart', () => {
  const { kept } = applyRetention([fork, recent, latest, newest], [], policy);
  expect(kept.map(({ reason }) => reason)).toEqual([
    { kind: 'newest-publish', name: 'newest', time: seconds(3) },
    { kind: 'newest-publish', name: 'latest', time: seconds(72) },
    { kind: 'published', name: 'recent', time: seconds(71) },
  ]);
});

it('keeps the newest records of each name, counting a path published again anew', () => {
  const records = [1, 2, 3, 4].map((days) => rootOf('app', days, { path: baseNameFor(`app-${days >> 1}`) }));
  const { roots } = applyRetention([...records, rootOf('b', 1), rootOf('c', 5)], [], { ...policy, keepLast: 2 });
  expect(roots.map(({ name, time }) => [name, time])).toEqual([
    ['b', seconds(1)],
    ['app', seconds(3)],
    ['app', seconds(4)],
    ['c', seconds(5)],
  ]);
});

it('counts the records of a name by source and system: another machine or fork pushes none out', () => {
  const elsewhere = [{}, { system: 'aarch64-darwin' }, { source: 'github:other/repo' }];
  const records = elsewhere.flatMap((place, i) => [
    rootOf('app', 1 + i, place),
    rootOf('app', 5 + i, place),
    rootOf('newer', 9, place),
  ]);
  const { kept } = applyRetention(records, [], { ...policy, keepLast: 1 });
  const last = kept.filter(({ reason }) => reason.kind === 'keep-last');
  expect(last.map(({ reason }) => reason)).toEqual(
    [5, 6, 7].map((days) => ({ kind: 'keep-last', name: 'app', time: seconds(days) })),
  );
});

it('keeps both when two publishes are of one second', () => {
  const a = rootOf('a', 5, { run: 'one' });
  const b = rootOf('b', 5, { run: 'other' });
  expect(applyRetention([a, b], [], policy).roots).toEqual([a, b]);
});

it('keeps the pins in force and the history of all', () => {
  const pins = [
    { name: 'p', path: baseNameFor('p1'), time: 1 },
    { name: 'p', path: baseNameFor('p2'), time: 2 },
    { name: 'q', path: baseNameFor('q1'), time: 1 },
    { name: 'q', time: 3, removed: true },
  ];
  const retention = applyRetention([], pins, policy);
  expect(retention.kept).toEqual([{ path: baseNameFor('p2'), reason: { kind: 'pinned', name: 'p' } }]);
  expect(retention.pins).toHaveLength(4);
});
