import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { readCatalog } from '../../src/catalog/catalog.ts';
import { reasonOf } from '../../src/catalog/path-report.ts';
import { EntryGraph } from '../../src/census/entry-graph.ts';
import { Inventory } from '../../src/census/inventory.ts';
import { closureOf, keepingOf, neededBy } from '../../src/census/inventory-walks.ts';
import { applyRetention, retainedSince } from '../../src/census/retention.ts';
import { Slices } from '../../src/census/slices.ts';
import { baseNameFor, CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { DAY_SECONDS, day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

/** Pauses as often as can be: whatever happens in between happens. */
const slices = (): Slices => new Slices(async () => {});

function inventoryOf(reader: IndexReader): Inventory {
  const inventory = new Inventory();
  for (const { rows, time, entryAt } of reader.segments()) {
    for (let row = 0; row < rows.count; row++) {
      const entry = entryAt(row);
      inventory.add(entry, entry.asserted ?? time);
    }
  }
  return inventory;
}

const publish = fc.record({
  at: fc.integer({ min: 0, max: 80 }),
  paths: fc.uniqueArray(fc.nat(5), { minLength: 1, maxLength: 5 }),
  roots: fc.boolean(),
  pin: fc.boolean(),
});

test('an inventory says of each path what the reports of a catalog say: closure, what needs it, why gc keeps it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(publish, { minLength: 1, maxLength: 5 }), async (publishes) => {
      const store = new MemoryStore();
      const cache = new CacheBuilder(store);
      for (const { at, paths, roots, pin } of publishes) {
        const chosen = paths.map((i) => `n${i}`);
        await cache.publish({
          at: day(at),
          paths: chosen.map((name, i) => ({ name, references: [...chosen.slice(0, i), 'elsewhere'], build: at })),
          roots: roots ? chosen.slice(-1) : [],
          pins: pin ? [{ name: 'p', path: baseNameFor(chosen[0] ?? ''), time: at }] : [],
        });
      }
      const reader = await IndexReader.open({ store, strict: false });
      const catalog = await readCatalog({ store, reader, onWarning: () => {} });
      const policy = { now: day(85).getTime() / 1000, retainSeconds: 30 * DAY_SECONDS };
      const inventory = inventoryOf(reader);
      const graph = EntryGraph.of(reader.entries());
      const { kept } = applyRetention(catalog.roots, catalog.pins, policy);
      const keeping = await keepingOf(inventory, kept, retainedSince(policy), slices());
      expect(inventory.total).toEqual(graph.total);
      expect(inventory.count).toBe(reader.status().entries);
      for (const { entry, asserted } of reader.entries()) {
        const hashPart = hashPartFor(entry.narInfo.path.slice(44));
        const number = inventory.find(hashPart) ?? -1;
        expect(inventory.hashPartOf(number)).toBe(hashPart);
        expect(inventory.assertedOf(number)).toBeGreaterThanOrEqual(asserted);
        const { missing, paths, narBytes, fileBytes } = graph.closureOf([hashPart]);
        expect(await closureOf(inventory, number, slices())).toEqual({
          paths,
          narBytes,
          fileBytes,
          missing: missing.length,
        });
        const dependents = [...inventory.dependentsOf(number)].map((each) => inventory.hashPartOf(each));
        expect(dependents.sort()).toEqual(graph.dependentsOf(hashPart).sort());
        const isNeeding = await neededBy(inventory, number, slices());
        const needing = Array.from({ length: inventory.count }, (_, i) => i).filter(isNeeding);
        expect(needing.map((each) => inventory.hashPartOf(each)).sort()).toEqual([...graph.needing(hashPart)].sort());
        const why = keeping.why(number);
        const said = reasonOf(hashPart, catalog, policy);
        expect(why?.reason).toEqual(said.verdict === 'kept' ? said.reason : undefined);
        expect(keeping.isKept(number)).toBe(said.verdict === 'kept');
        // Of several pushes that keep a path, any will do.
        if (why && said.verdict === 'kept' && why.reason.kind !== 'pushed') {
          expect(said.through).toMatch(inventory.hashPartOf(why.through));
        }
      }
    }),
    { numRuns: 40 },
  );
});

describe('an inventory', () => {
  it('finds hashes by what they begin with, of any length', async () => {
    const store = new MemoryStore();
    const names = Array.from({ length: 300 }, (_, i) => `n${i}`);
    await new CacheBuilder(store).publish({ at: day(0), paths: names });
    const reader = await IndexReader.open({ store, strict: false });
    await reader.refresh();
    const inventory = inventoryOf(reader);
    const all = names.map(hashPartFor);
    for (let length = 1; length <= 32; length++) {
      const prefix = hashPartFor('n7').slice(0, length);
      const found = [...inventory.withPrefix(prefix)].flatMap((entry) =>
        entry === undefined ? [] : inventory.hashPartOf(entry),
      );
      expect(found.sort()).toEqual(all.filter((hashPart) => hashPart.startsWith(prefix)).sort());
    }
  });

  it('goes by the newest form of a path, and knows who signed', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['lib', { name: 'app', references: ['lib'], bytes: 1000 }] });
    await cache.publish({ at: day(1), paths: [{ name: 'app', bytes: 5000, build: 2 }] });
    const reader = await IndexReader.open({ store, strict: false });
    await reader.refresh();
    const inventory = inventoryOf(reader);
    const app = inventory.find(hashPartFor('app')) ?? -1;
    const lib = inventory.find(hashPartFor('lib')) ?? -1;
    expect([inventory.count, inventory.rowCount]).toEqual([2, 3]);
    expect(inventory.narBytesOf(app)).toBeGreaterThan(5000);
    expect([...inventory.dependentsOf(lib)]).toEqual([]);
    // gc goes by all forms: readers may see any of them.
    const keeping = await keepingOf(
      inventory,
      [{ path: baseNameFor('app'), reason: { kind: 'pinned', name: 'p' } }],
      Infinity,
      slices(),
    );
    expect(keeping.why(lib)).toEqual({ reason: { kind: 'pinned', name: 'p' }, through: app });
    expect(inventory.signers).toEqual([]);
  });
});
