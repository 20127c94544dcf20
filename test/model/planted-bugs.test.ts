/** The model is worth what it finds: each of these protocols is wrong, and it must say so. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PLANTED_BUGS } from './planted-bugs.ts';
import { runsOf } from './runs.ts';
import { runScenario } from './scenario.ts';
import { scenario } from './scenario-arbitraries.ts';

const RUNS = runsOf('planted bugs', 2000);

test.each(Object.entries(PLANTED_BUGS))(
  'to %s is found out',
  async (_, behaviour) => {
    const found = await fc.check(
      fc.asyncProperty(scenario(), async (each) => {
        const { broken } = await runScenario(each, behaviour);
        expect(broken).toBeUndefined();
      }),
      { ...RUNS, endOnFailure: true },
    );
    expect(found.failed, `not found in ${found.numRuns} runs from seed ${RUNS.seed}`).toBe(true);
  },
  120_000,
);
