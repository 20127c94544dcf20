import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { memoryVandal } from '../support/vandal.ts';
import { kindsOf, verify } from '../support/verify-runs.ts';

test('whatever is published and collected, a cache that nobody damaged has no findings', async () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd', 'e');
  const step = fc.record({ names: fc.uniqueArray(name, { minLength: 1 }), packed: fc.boolean(), gc: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), async (steps) => {
      const { store } = memoryVandal();
      const cache = new CacheBuilder(store);
      for (const [i, { names, packed, gc }] of steps.entries()) {
        const paths = names.map((each, at) => ({ name: each, build: i, references: names.slice(0, at) }));
        await cache.publish({ at: day(i), paths, packed, roots: names.slice(-1) });
        if (gc) await gcAt(store, day(i + 0.5), { graceSeconds: 0 });
      }
      const { findings } = await verify(store, { contents: true, now: () => day(steps.length) });
      expect(kindsOf(findings)).toEqual([]);
    }),
    { numRuns: 30 },
  );
});
