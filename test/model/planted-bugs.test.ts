/** The model is worth what it finds: each of these protocols is wrong, and it must say so. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PLANTED_BUGS, PLANTED_RACES } from './planted-bugs.ts';
import { runsOf } from './runs.ts';
import { runScenario } from './scenario.ts';
import { closeRace, scenario } from './scenario-arbitraries.ts';

const RUNS = runsOf('planted bugs', 2000);

const bugs = [
  ...Object.entries(PLANTED_BUGS).map(([name, behaviour]) => [name, behaviour, scenario()] as const),
  ...Object.entries(PLANTED_RACES).map(([name, behaviour]) => [name, behaviour, closeRace()] as const),
];

test.each(bugs)(
  'to %s is found out',
  async (_, behaviour, scenarios) => {
    const found = await fc.check(
      fc.asyncProperty(scenarios, async (each) => {
        const { broken } = await runScenario(each, behaviour);
        expect(broken).toBeUndefined();
      }),
      { ...RUNS, endOnFailure: true },
    );
    expect(found.failed, `not found in ${found.numRuns} runs from seed ${RUNS.seed}`).toBe(true);
  },
  300_000,
);
