import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { type GcPlan, planGc } from '../../src/gc/plan.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import { baseNameFor, hashPartFor } from '../support/cache-builder.ts';
import {
  type CacheTable,
  censusOf,
  checkpointOfDay,
  type EntryRow,
  entryOf,
  gcInput,
  rootOf,
  type SegmentRow,
  seconds,
  segmentOfDay,
} from '../support/gc-inputs.ts';

const NAMES = ['lib', 'app', 'old', 'new', 'tool', 'a', 'b', 'c', 'd'];
const nameOf = new Map<string, string>(NAMES.map((name) => [hashPartFor(name), name]));
const dropped = (plan: GcPlan): (string | undefined)[] => plan.drop.map(({ hashPart }) => nameOf.get(hashPart)).sort();
const many = (count: number, prefix: string, more: Partial<EntryRow> = {}): EntryRow[] =>
  Array.from({ length: count }, (_, i) => ({ name: `${prefix}-${i}`, ...more }));

it('plans nothing for a cache from which nothing is dropped', () => {
  const segments = [
    { day: 90, entries: many(400, 'x') },
    { day: 91, entries: many(10, 'y') },
  ];
  const plan = planGc(gcInput({ segments, today: 100 }));
  expect(plan).toMatchObject({
    keep: { entries: 410, bytes: 41_000 },
    drop: [],
    untouched: [segmentOfDay(90), segmentOfDay(91)],
    rewritten: [],
    outputs: [],
    checkpoint: undefined,
  });
});

it('drops, rewrites and replaces as a whole', () => {
  const root = rootOf('app', 2);
  const gone = rootOf('old', 1);
  const pin = { name: 'p', path: baseNameFor('tool'), time: seconds(1) };
  const input = gcInput({
    segments: [
      {
        day: 1,
        entries: [{ name: 'lib' }, { name: 'old', references: ['lib'], bytes: 7 }],
        roots: [gone],
        publicKeys: ['k:1'],
      },
      { day: 2, entries: [{ name: 'app', references: ['lib'] }, { name: 'tool' }], roots: [root], pins: [pin] },
      { day: 95, entries: many(400, 'x') },
    ],
    checkpoints: [{ day: 3, config: { replaces: [-1, -2, -3].map(segmentOfDay), publicKeys: ['k:0'] } }],
    tags: [segmentOfDay(-1)],
    listed: [segmentOfDay(-3)], // its tag is gone, but a stale cache-index would bring it back
    today: 100,
  });
  const plan = planGc(input);
  expect(plan).toMatchObject({
    keep: { entries: 403, bytes: 40_300 },
    drop: [{ hashPart: hashPartFor('old'), bytes: 7, asserted: seconds(1) }],
    untouched: [segmentOfDay(95)],
    rewritten: [
      { tag: segmentOfDay(1), why: 'dropped-entries' },
      { tag: segmentOfDay(2), why: 'small' },
    ],
    packs: [],
    checkpoint: {
      replaces: [checkpointOfDay(3), ...[-3, -1, 1, 2].map(segmentOfDay)].sort(),
      roots: [root],
      pins: [pin],
      publicKeys: ['k:0', 'k:1'],
    },
  });
  const written = plan.outputs.map(({ rows, layers }) => ({
    layers,
    names: rows.map((row) => nameOf.get(input.census.hashPartOf(input.census.pathOf(row)))).sort(),
  }));
  expect(written).toEqual([{ layers: 4, names: ['app', 'lib', 'tool'] }]);
});

it('says why each entry is kept', () => {
  const { marks } = planGc(
    gcInput({
      segments: [
        {
          day: 1,
          entries: [{ name: 'lib' }, { name: 'app', references: ['lib'] }, { name: 'tool' }, { name: 'old' }],
          roots: [rootOf('app', 1)],
          pins: [{ name: 'stable', path: baseNameFor('tool'), time: 1 }],
        },
        { day: 99, entries: [{ name: 'new', references: ['new', 'lib', 'a'] }] },
      ],
      today: 100,
    }),
  );
  const reason = { kind: 'newest-publish', name: 'app', time: seconds(1) };
  expect(marks.why(hashPartFor('lib'))).toEqual({ reason, through: hashPartFor('app') });
  expect(marks.why(hashPartFor('tool'))).toEqual({
    reason: { kind: 'pinned', name: 'stable' },
    through: hashPartFor('tool'),
  });
  expect(marks.why(hashPartFor('new'))).toEqual({ reason: { kind: 'pushed' }, through: hashPartFor('new') });
  expect(marks.why(hashPartFor('old'))).toBeUndefined();
  expect(marks.why(hashPartFor('nobody'))).toBeUndefined();
});

it('follows the references of every form of a path, since readers may see any', () => {
  const plan = planGc(
    gcInput({
      segments: [
        { day: 1, entries: [{ name: 'a' }, { name: 'b' }] },
        { day: 50, entries: [{ name: 'app', references: ['a'] }] },
        { day: 99, entries: [{ name: 'app', references: ['b'] }] },
      ],
      today: 100,
    }),
  );
  expect(plan.drop).toEqual([]);
});

it('keeps the form asserted last, with the time of that', () => {
  const input = gcInput({
    segments: [
      { day: 10, entries: [{ name: 'a' }, { name: 'old', asserted: 1 }] },
      { day: 20, entries: [{ name: 'a', asserted: 5 }] },
    ],
    today: 30,
    retainDays: 25,
  });
  const plan = planGc(input);
  expect(dropped(plan)).toEqual(['old']);
  expect(plan.outputs.flatMap(({ rows }) => rows.map((row) => input.census.assertedOf(row)))).toEqual([seconds(10)]);
});

it.each<[string, readonly SegmentRow[], number]>([
  ['leaves one small segment alone', [{ day: 90, entries: many(298, 'x') }], 0],
  [
    'merges two small ones',
    [
      { day: 90, entries: many(298, 'x') },
      { day: 91, entries: many(5, 'y') },
    ],
    2,
  ],
  ['merges segments of roots alone', [{ day: 90 }, { day: 91 }], 2],
  [
    'leaves large ones alone',
    [
      { day: 90, entries: many(300, 'x') },
      { day: 91, entries: many(300, 'y') },
    ],
    0,
  ],
  [
    'leaves one alone of which a quarter is superseded',
    [
      { day: 90, entries: many(400, 'x') },
      { day: 91, entries: [...many(100, 'x'), ...many(250, 'y')] },
    ],
    0,
  ],
  [
    'rewrites one of which more is superseded',
    [
      { day: 90, entries: many(400, 'x') },
      { day: 91, entries: [...many(101, 'x'), ...many(250, 'y')] },
    ],
    1,
  ],
])('%s', (_, segments, rewritten) => {
  expect(planGc(gcInput({ segments, today: 100 })).rewritten).toHaveLength(rewritten);
});

it('rewrites a pack once more than half of it is dead, with every segment that holds it', () => {
  const entries = ['a', 'b', 'c'].map((name) => ({ name, pack: 'p', bytes: 100 }));
  const table = (packBytes: number): CacheTable => ({
    segments: [
      { day: 90, entries: [...entries, ...many(300, 'x')] },
      { day: 91, entries: [{ name: 'd', pack: 'p', bytes: 50 }, ...many(300, 'y')] },
    ],
    packs: { p: packBytes },
    today: 100,
  });
  expect(planGc(gcInput(table(700))).rewritten).toEqual([]);
  const plan = planGc(gcInput(table(701)));
  expect(plan.rewritten.map(({ why }) => why)).toEqual(['sparse-pack', 'sparse-pack']);
  expect(plan).toMatchObject({ sparsePacks: 1, packs: [{ bytes: 350 }] });
  expect(plan.packs[0]?.pieces).toHaveLength(4);
});

it('divides entries by store hash into equal segments of at most 1000 entries and no more layers than allowed', () => {
  const segments = [{ day: 1, entries: [{ name: 'old' }, ...many(2500, 'x', { asserted: 95 })] }];
  const plan = planGc(gcInput({ segments, today: 100 }));
  expect(plan.outputs.map(({ rows }) => rows.length)).toEqual([834, 834, 832]);
  const input = gcInput({ segments, today: 100, maxLayers: 400 });
  const narrow = planGc(input);
  expect(narrow.outputs.every(({ layers }) => layers <= 400)).toBe(true);
  const order = narrow.outputs.flatMap(({ rows }) =>
    rows.map((row) => input.census.hashPartOf(input.census.pathOf(row))),
  );
  expect(order).toEqual(order.toSorted());
  expect(new Set(order).size).toBe(2500);
});

it('refuses an entry whose bytes its segment does not hold', () => {
  const table: CacheTable = { segments: [{ day: 1, entries: [{ name: 'a', pack: 'p' }] }], packs: { p: 99 }, today: 2 };
  expect(() => gcInput(table)).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
});

it('refuses an entry whose bytes only another segment holds: dropping that one would lose them', () => {
  const census = censusOf({ segments: [{ day: 1, entries: [{ name: 'a' }] }] });
  const rows = [{ entry: entryOf({ name: 'a' }), asserted: 0 }];
  expect(() => census.addSegment(segmentOfDay(2), [], rows)).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
});

/** References of `i`, the same in every segment: those of two builds of a path could differ, but do not as a rule. */
const usual = (i: number): number[] => [i - 1, i >> 1, i].filter((j) => j >= 0 && (i * 7 + j) % 3 > 0);

/** Caches of a few paths, in any state; references go to paths of a smaller number, or to themselves. */
const cacheTable = (referencesOf?: (i: number) => readonly number[]): fc.Arbitrary<CacheTable> => {
  const entry = fc.record({
    i: fc.nat({ max: 11 }),
    references: fc.array(fc.nat({ max: 11 }), { maxLength: 3 }),
    asserted: fc.option(fc.nat({ max: 100 }), { nil: undefined }),
    pack: fc.constantFrom(undefined, 'p', 'q'),
  });
  const segment = fc.record({
    entries: fc.uniqueArray(entry, { maxLength: 6, selector: ({ i }) => i }),
    roots: fc.array(fc.nat({ max: 12 }), { maxLength: 2 }),
    pins: fc.array(fc.nat({ max: 12 }), { maxLength: 1 }),
  });
  return fc
    .record({
      segments: fc.array(segment, { maxLength: 5 }),
      retainDays: fc.nat({ max: 110 }),
      keepLast: fc.option(fc.nat({ max: 2 }), { nil: undefined }),
      maxLayers: fc.constantFrom(4, 1000),
    })
    .map(({ segments, retainDays, keepLast, maxLayers }) => ({
      ...{ today: 100, retainDays, maxLayers, packs: { p: 500, q: 10_000 } },
      ...(keepLast === undefined ? {} : { keepLast }),
      segments: segments.map(({ entries, roots, pins }, at) => ({
        day: at * 20,
        entries: entries.map(({ i, references, asserted, pack }) => ({
          name: `n${i}`,
          references: [...new Set(referencesOf?.(i) ?? references.filter((j) => j <= i))].map((j) => `n${j}`),
          ...(asserted === undefined ? {} : { asserted }),
          ...(pack === undefined ? {} : { pack }),
        })),
        roots: roots.map((i) => rootOf(`n${i}`, at * 20)),
        pins: pins.map((i) => ({ name: `pin${i}`, path: baseNameFor(`n${i}`), time: seconds(at * 20) })),
      })),
    }));
};

test('nothing is dropped that a kept root or a recently pushed entry reaches', () => {
  fc.assert(
    fc.property(cacheTable(), (table) => {
      const plan = planGc(gcInput(table));
      const references = new Map<string, string[]>();
      for (const { entries = [] } of table.segments) {
        for (const row of entries) {
          references.set(row.name, [...(references.get(row.name) ?? []), ...(row.references ?? [])]);
        }
      }
      const since = seconds(table.today) - (table.retainDays ?? 30) * 86_400;
      const fresh = table.segments.flatMap(({ day: days, entries = [] }) =>
        entries.filter((row) => seconds(row.asserted ?? days) >= since).map(({ name }) => name),
      );
      const open = [...fresh, ...plan.retention.kept.map(({ path }) => path.slice(33))];
      const reached = new Set(open);
      for (let name = open.pop(); name !== undefined; name = open.pop()) {
        for (const next of references.get(name) ?? []) if (!reached.has(next)) open.push(next);
        for (const next of references.get(name) ?? []) reached.add(next);
      }
      const unreached = [...references.keys()].filter((name) => !reached.has(name));
      expect(plan.drop.map(({ hashPart }) => hashPart)).toEqual(
        unreached.map((name) => hashPartOf(baseNameFor(name))).sort(),
      );
    }),
  );
});

test('every kept entry is in an untouched segment or in exactly one output, once', () => {
  fc.assert(
    fc.property(cacheTable(), (table) => {
      const input = gcInput(table);
      const { census } = input;
      const plan = planGc(input);
      const untouched = new Set(plan.untouched);
      const rows = plan.outputs.flatMap((output) => output.rows);
      const paths = rows.map((row) => census.pathOf(row));
      expect(new Set(paths).size).toBe(paths.length);
      const held = new Set(paths);
      for (const { tag, start, end } of census.segments) {
        if (untouched.has(tag)) for (let row = start; row < end; row++) held.add(census.pathOf(row));
      }
      expect(held.size).toBe(plan.keep.entries);
    }),
  );
});

/** The cache after `plan`, as the next gc finds it. */
function applied(table: CacheTable, plan: GcPlan): CacheTable {
  const { census } = gcInput(table);
  const rowsOf = table.segments.flatMap(({ day: days, entries = [] }) =>
    entries.map((row) => ({ ...row, asserted: row.asserted ?? days })),
  );
  const repacked = new Map(plan.packs.flatMap((pack, i) => pack.pieces.map(({ row }) => [row, `new${i}`])));
  const packs = Object.fromEntries(plan.packs.map(({ bytes }, i) => [`new${i}`, bytes]));
  const untouched = table.segments.filter((segment) => plan.untouched.includes(segmentOfDay(segment.day)));
  const outputs = plan.outputs.map(({ rows }, i) => ({
    day: 90 + i / 100,
    entries: rows.map((row) => {
      const held = rowsOf[row];
      const pack = repacked.get(row) ?? held?.pack;
      if (!held || held.name !== nameOfRow(census, row)) throw new Error('rows are not in order');
      return { ...held, ...(pack === undefined ? {} : { pack }) };
    }),
  }));
  const records = plan.checkpoint ? [{ day: 99, config: plan.checkpoint as never }] : [];
  return { ...table, packs: { ...table.packs, ...packs }, segments: [...untouched, ...outputs], checkpoints: records };
}
const numbered = new Map(Array.from({ length: 12 }, (_, i) => [hashPartFor(`n${i}`) as string, `n${i}`]));
const nameOfRow = (census: ReturnType<typeof gcInput>['census'], row: number): string | undefined =>
  numbered.get(census.hashPartOf(census.pathOf(row)));

test('a second gc right after finds nothing to do', () => {
  fc.assert(
    fc.property(cacheTable(usual), (table) => {
      const plan = planGc(gcInput(table));
      const again = planGc(gcInput(applied(table, plan)));
      expect(again.drop).toEqual([]);
      expect(again.rewritten).toEqual([]);
      expect(again.keep).toEqual(plan.keep);
    }),
  );
});

it('leaves a pack of more than 64 MiB as it is, however little of it is needed', () => {
  const planFor = (packBytes: number) =>
    planGc(
      gcInput({
        segments: [{ day: 90, entries: [{ name: 'a', pack: 'p', bytes: 100 }, ...many(300, 'x')] }],
        packs: { p: packBytes },
        today: 100,
      }),
    );
  expect(planFor(64 * 1024 * 1024).rewritten).toHaveLength(1);
  expect(planFor(64 * 1024 * 1024 + 1).rewritten).toEqual([]);
});

it('carries on what a repair has left out for good', () => {
  const removed = [hashPartFor('lost'), hashPartFor('gone')];
  const { checkpoint } = planGc(
    gcInput({
      segments: [
        { day: 10, entries: [{ name: 'old' }] },
        { day: 90, entries: [{ name: 'new' }] },
      ],
      checkpoints: [{ day: 50, config: { removed } }],
      today: 100,
    }),
  );
  expect(checkpoint?.removed).toEqual(removed);
});
