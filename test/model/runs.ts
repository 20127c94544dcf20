/**
 * How many scenarios are tried, and from which seed. The seed is printed, in one line a test, and both can be given, so that
 * any run happens again:
 *
 *     NIXCACHE_MODEL_SEED=12345 npx vitest run test/model
 *     NIXCACHE_MODEL_RUNS=35000 npx vitest run test/model/commit-protocol.test.ts
 *
 * The second is the long run: half an hour. No clock bounds a run; what is tried follows from these two alone.
 */
import { randomInt } from 'node:crypto';

export interface Runs {
  readonly seed: number;
  readonly numRuns: number;
}

const SEED = process.env['NIXCACHE_MODEL_SEED'];
const RUNS = process.env['NIXCACHE_MODEL_RUNS'];

/** Up to `usual` runs of `what`, unless the environment says how many. */
export function runsOf(what: string, usual: number): Runs {
  const runs = { seed: SEED === undefined ? randomInt(2 ** 31) : Number(SEED), numRuns: Number(RUNS ?? usual) };
  process.stderr.write(`model: ${what}: up to ${runs.numRuns} runs from NIXCACHE_MODEL_SEED=${runs.seed}\n`);
  return runs;
}
