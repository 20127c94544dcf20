import fc from 'fast-check';
import { expect, test } from 'vitest';
import { infosInOrder } from '../../../src/cache/write/references-first.ts';
import { hashFromHex } from '../../../src/nix/hash.ts';
import type { PathInfo } from '../../../src/nix/path-info.ts';
import { baseNameOf, parseBaseName, toStorePath } from '../../../src/nix/store-path.ts';

const nameOf = (i: number) => parseBaseName(`${String(i).padStart(32, '0')}-n`);
const info = (i: number, references: readonly number[]): PathInfo => ({
  path: toStorePath(nameOf(i)),
  narHash: hashFromHex('00'.repeat(32)),
  narSize: 1,
  references: references.map(nameOf),
  sigs: [],
});

/** Graphs in which a path refers to itself, to earlier ones, and to some outside. */
const graph = fc
  .array(fc.array(fc.nat(30), { maxLength: 4 }), { maxLength: 30 })
  .map((rows) => rows.map((row, i) => info(i, [...row.filter((j) => j <= i), 999])));

test('every prefix is closed: a path comes behind all that it refers to', () => {
  fc.assert(
    fc.property(graph, fc.infiniteStream(fc.nat()), (infos, chance) => {
      const shuffled = infos.toSorted(() => (chance.next().value % 3) - 1);
      const ordered = infosInOrder(shuffled);
      expect(ordered.map(({ path }) => path).toSorted()).toEqual(infos.map(({ path }) => path).toSorted());
      const inside = new Set(infos.map(({ path }) => baseNameOf(path)));
      const seen = new Set<string>();
      for (const { path, references } of ordered) {
        seen.add(baseNameOf(path));
        for (const reference of references) if (inside.has(reference)) expect(seen).toContain(reference);
      }
    }),
  );
});

test('a chain of 100 000 paths does not exhaust the stack', () => {
  const infos = Array.from({ length: 100_000 }, (_, i) => info(i, i > 0 ? [i - 1] : []));
  expect(infosInOrder(infos.toReversed())[0]?.path).toBe(infos[0]?.path);
});
