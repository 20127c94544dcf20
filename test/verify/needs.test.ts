import { expect, it } from 'vitest';
import { Mirror } from '../../src/cache/read/mirror.ts';
import { inspect } from '../../src/verify/inspect.ts';
import { dependentsOf } from '../../src/verify/needs.ts';
import { CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

it('finds all that needs a path in one pass, however long the chain', async () => {
  const store = new MemoryStore();
  const many = 100;
  const chain = Array.from({ length: many }, (_, i) => ({ name: `p${i}`, references: i > 0 ? [`p${i - 1}`] : [] }));
  await new CacheBuilder(store).publish({ at: day(0), paths: [...chain, 'other'] });
  const inspection = await inspect({
    ...{ store, mirror: await Mirror.open({ cache: store.name, use: 'recall' }), upstreams: [] },
    ...{ trustedPublicKeys: [], contents: false, good: new Set(), onEvent: () => undefined, now: () => day(1) },
  });
  let looks = 0;
  for (const segment of inspection.segments) {
    const { entryAt } = segment.parts;
    Object.assign(segment.parts, {
      entryAt: (row: number) => {
        looks++;
        return entryAt(row);
      },
    });
  }
  const found = await dependentsOf(inspection, [hashPartFor('p0')], async () => new Set([hashPartFor('p90')]));
  const expected = Array.from({ length: 90 }, (_, i) => [hashPartFor(`p${i + 1}`), hashPartFor(`p${i}`)] as const);
  expect(found).toEqual(new Map(expected));
  expect(looks).toBeLessThan(3 * many);
});
