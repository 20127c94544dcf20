/** Scenarios in which the model once found that a promise was broken, as it shrank them. */
import { expect, test } from 'vitest';
import type { ActorSpec } from './actors.ts';
import type { PathName } from './model-paths.ts';
import { type Manners, type Round, runScenario } from './scenario.ts';

const AT_WORK = { skewHours: 0, faults: [] } as const;
const GC = { ...AT_WORK, kind: 'gc', retainDays: 30 } as const;
const publish = (root: PathName): ActorSpec & { readonly kind: 'publish' } => ({
  ...AT_WORK,
  kind: 'publish',
  root,
  source: undefined,
  sparse: false,
  retainDays: 30,
});
const round = (hours: number, actors: readonly ActorSpec[], seed = 0, choices = 0): Round => ({
  ...{ hours, actors, seed, choices },
});

async function expectKept(maxLayers: number, manners: Manners, rounds: readonly Round[]): Promise<void> {
  const habits = { maxLayers, seed: 0, lagMs: 0, lagShare: 0, lostShare: 0 };
  const { broken, story } = await runScenario({ habits, rounds, manners });
  expect(broken, story.join('\n')).toBeUndefined();
  // Nothing is lost either where nobody gets anything done.
  expect(story.filter((line) => /(publish|gc).* is done$/.test(line)).length).toBeGreaterThan(2);
}

test('a publisher that asserts an old closure over several segments, and a gc that drops it meanwhile, leave no path without its references', async () => {
  await expectKept(6, 'usual', [
    round(2, [publish('ssl'), publish('libc')]),
    round(2, [publish('libc'), GC]),
    round(740, [GC, publish('suite')], 0, 102),
    round(2, [publish('libc')]),
  ]);
});

test('a pin set while a gc that did not see it makes its checkpoint keeps what it names', async () => {
  await expectKept(6, 'usual', [
    round(2, [publish('tool'), publish('tool'), { ...AT_WORK, kind: 'pin', name: 'stable', path: 'libc' }]),
    round(350, [{ ...AT_WORK, kind: 'read' }]),
    round(240, [GC, GC, publish('app')], 91405302, 347),
    round(740, [GC, { ...AT_WORK, kind: 'pin', name: 'stable', path: 'ssl' }, publish('libc')], 664708754, 242),
    round(2, [{ ...AT_WORK, kind: 'unpin', name: 'stable' }]),
  ]);
});

test('of two gcs at once with unequal retentions, of which one sees what the other wrote beside what that replaces, neither drops the copy on which the other relies', async () => {
  await expectKept(3, 'wild', [
    round(2, [{ ...publish('suite'), faults: [{ call: 7, kind: 'before' }] }, GC]),
    round(700, [publish('sh'), { ...AT_WORK, kind: 'unpin', name: 'stable' }]),
    round(27, [publish('libc'), GC]),
    round(240, [
      { ...GC, retainDays: 90 },
      { ...GC, retainDays: 7 },
    ]),
  ]);
});

test('a checkpoint whose deletion failed can still be read', async () => {
  await expectKept(1000, 'usual', [
    round(2, [publish('libc'), publish('libc')]),
    round(2, [GC]),
    round(2, [publish('libc')]),
    round(2, [GC, publish('libc')]),
    round(350, [{ ...GC, faults: [{ call: 0, kind: 'before', method: 'deleteManifest' }] }, GC], 0, 199),
    round(2, [GC]),
  ]);
});
