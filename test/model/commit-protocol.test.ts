/** The commit protocol, docs/cache-format.md section 8, in every order of calls that chance finds. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FAITHFUL, runScenario } from './scenario.ts';
import { scenario } from './scenario-arbitraries.ts';
import type { Behaviour } from './world.ts';

/** How many scenarios a nightly run tries; otherwise as many as fit in a while, some 1000 on two idle cores. */
const RUNS = process.env['NIXCACHE_MODEL_RUNS'];
const LONG_MS = 30_000;
const SHORT_MS = 6000;
/** One takes 30 ms alone, and longer where many tests run. */
const MAX_RUN_MS = 300;

function holds(behaviour: Behaviour, limitMs: number): Promise<void> {
  const property = fc.asyncProperty(scenario(), async (each) => {
    const { broken, story } = await runScenario(each, behaviour);
    expect(broken, [...story, ''].join('\n')).toBeUndefined();
  });
  const budget = RUNS === undefined ? { numRuns: 1000, interruptAfterTimeLimit: limitMs } : { numRuns: Number(RUNS) };
  return fc.assert(property, budget);
}

const timeoutMs = (limitMs: number): number => limitMs + 60_000 + Number(RUNS ?? 0) * MAX_RUN_MS;

test(
  'nothing that was promised is lost, in any order of calls, behind any lag, and after any crash',
  () => holds(FAITHFUL, LONG_MS),
  timeoutMs(LONG_MS),
);

test(
  'nor on a registry that takes manifests unseen, as long as it collects nothing that is younger than a publish',
  () => holds({ ...FAITHFUL, isLax: true }, SHORT_MS),
  timeoutMs(SHORT_MS),
);
