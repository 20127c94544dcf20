import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Against what hangs; how fast the machine is decides nothing.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    // Half of the integration tests wait for processes and clocks, also where there is but one core.
    maxWorkers: Math.max(2, availableParallelism()),
  },
});
