/** The commit protocol, docs/cache-format.md section 8, in every order of calls that chance finds. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Runs, runsOf } from './runs.ts';
import { FAITHFUL, runScenario } from './scenario.ts';
import { closeRace, race, scenario } from './scenario-arbitraries.ts';
import type { Behaviour } from './world.ts';

const STRICT = runsOf('a strict registry', 1000);
const LAX = runsOf('a lax registry', 200);
const RACES = runsOf('races', 200);
/** One takes 30 ms alone, and longer where many tests run: this only ends what hangs. */
const MAX_RUN_MS = 3000;
const timeoutMs = ({ numRuns }: Runs): number => 60_000 + numRuns * MAX_RUN_MS;

const holds = (behaviour: Behaviour, runs: Runs, scenarios = scenario()): Promise<void> =>
  fc.assert(
    fc.asyncProperty(scenarios, async (each) => {
      const { broken, story } = await runScenario(each, behaviour);
      expect(broken, [...story, ''].join('\n')).toBeUndefined();
    }),
    runs,
  );

test(
  'nothing that was promised is lost, in any order of calls, behind any lag, and after any crash',
  () => holds(FAITHFUL, STRICT),
  timeoutMs(STRICT),
);

test(
  'nor on a registry that takes manifests unseen, as long as it collects nothing that is younger than a publish',
  () => holds({ ...FAITHFUL, isLax: true }, LAX),
  timeoutMs(LAX),
);

test(
  'nor where one of a gc and its publishers is held while the others do all of their work',
  () => holds(FAITHFUL, RACES, fc.oneof(race(), closeRace())),
  timeoutMs(RACES),
);

test('a seed gives the same scenarios, and a scenario the same run, each time', async () => {
  const sample = { seed: 7, numRuns: 20 }; // one in which something of everything is done
  const [scenarios, again] = [fc.sample(scenario(), sample), fc.sample(scenario(), sample)];
  expect(again).toEqual(scenarios);
  const stories: string[] = [];
  for (const each of scenarios) {
    const outcome = await runScenario(each);
    expect(await runScenario(each)).toEqual(outcome);
    stories.push(...outcome.story);
  }
  // Nothing is lost either where nobody gets anything done.
  for (const what of ['publish', 'gc', 'pin', 'read']) {
    expect(stories.filter((line) => line.includes(` ${what}`) && line.endsWith(' is done'))).not.toEqual([]);
  }
});
