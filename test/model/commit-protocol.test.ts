/** The commit protocol, docs/cache-format.md section 8, in every order of calls that chance finds. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { runScenario } from './scenario.ts';
import { scenario } from './scenario-arbitraries.ts';

/** Set higher for a nightly run. */
const RUNS = Number(process.env['NIXCACHE_MODEL_RUNS'] ?? 800);

test(
  'nothing that was promised is lost, in any order of calls, behind any lag, and after any crash',
  async () => {
    await fc.assert(
      fc.asyncProperty(scenario(), async (each) => {
        const { broken, story } = await runScenario(each);
        expect(broken, [...story, ''].join('\n')).toBeUndefined();
      }),
      { numRuns: RUNS },
    );
  },
  RUNS * 1000 + 60_000,
);
