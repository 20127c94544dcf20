import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';

// Code is compiled, and types are stripped, once for all the processes that tests start: workers, and commands.
process.env['NODE_COMPILE_CACHE'] ??= fileURLToPath(new URL('node_modules/.cache/node-compile', import.meta.url));

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Against what hangs; how fast the machine is decides nothing.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    // So too for what a test waits for; vitest's own second is a guess about the machine.
    expect: { poll: { timeout: 60_000, interval: 10 } },
    pool: 'forks',
    // One more than there are cores: much of the time, tests wait for processes, disks and clocks.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
  },
});
