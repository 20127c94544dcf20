/** Scenarios at random, that shrink to fewer rounds, fewer actors, fewer faults, and fewer choices. */
import fc from 'fast-check';
import type { StoreMethod } from '../support/memory-store.ts';
import type { ActorSpec } from './actors.ts';
import { HOUR_MS } from './ledger.ts';
import { PATH_NAMES, type PathName } from './model-paths.ts';
import { MAX_SKEW_HOURS, type Manners, type Round, type Scenario } from './scenario.ts';
import type { RegistryHabits } from './simulated-registry.ts';
import type { Fault, FaultKind } from './simulated-store.ts';

const faultKind = (): fc.Arbitrary<FaultKind> =>
  fc.constantFrom<FaultKind[]>('before', 'after', 'twice', 'crash', 'held', 'killed');

/** At any call, or at one of those that change something. */
const fault = (): fc.Arbitrary<Fault> =>
  fc.oneof(
    fc.record({ call: fc.nat({ max: 80 }), kind: faultKind() }),
    fc.record({
      call: fc.nat({ max: 4 }),
      kind: faultKind(),
      method: fc.constantFrom<StoreMethod[]>('pushManifest', 'deleteManifest', 'pushBlob'),
    }),
  );

const common = {
  skewHours: fc.integer({ min: -MAX_SKEW_HOURS, max: MAX_SKEW_HOURS }),
  faults: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(fault(), { maxLength: 4 })),
};

/** What publishers and gcs are told, each for itself. */
const RETAIN_DAYS = [30, 7, 90];
/** Most publishers have the one key, or none yet. */
const KEYS = [undefined, undefined, 'one-1', 'one-1', 'two-1'] as const;
const PINS = ['stable', 'demo'];
const SOURCES = [undefined, 'github:owner/repo', 'github:owner/other'];

const actor = (): fc.Arbitrary<ActorSpec> => {
  const kindOf = <K extends string>(kind: K) => fc.constant(kind);
  const path = fc.constantFrom(...PATH_NAMES);
  const pinName = fc.constantFrom(...PINS);
  return fc.oneof<fc.MaybeWeightedArbitrary<ActorSpec>[]>(
    {
      weight: 6,
      arbitrary: fc.record({
        ...common,
        kind: kindOf('publish'),
        root: path,
        source: fc.constantFrom(...SOURCES),
        sparse: fc.boolean(),
        retainDays: fc.constantFrom(...RETAIN_DAYS),
        key: fc.constantFrom(...KEYS),
        interruptedAt: fc.option(fc.nat({ max: 60 }), { nil: undefined, freq: 3 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ ...common, kind: kindOf('gc'), retainDays: fc.constantFrom(...RETAIN_DAYS) }) },
    { weight: 2, arbitrary: fc.record({ ...common, kind: kindOf('read') }) },
    { weight: 1, arbitrary: fc.record({ ...common, kind: kindOf('pin'), name: pinName, path }) },
    { weight: 1, arbitrary: fc.record({ ...common, kind: kindOf('unpin'), name: pinName }) },
  );
};

/** From a few hours to just beyond the retention, with both sides of its half and of the grace period. */
const HOURS = [2, 20, 27, 72, 240, 350, 370, 700, 740];

const round = (): fc.Arbitrary<Round> =>
  fc.record({
    hours: fc.constantFrom(...HOURS),
    actors: fc.array(actor(), { minLength: 1, maxLength: 4 }),
    seed: fc.nat(),
    choices: fc.nat({ max: 1000 }),
  });

const habits = (): fc.Arbitrary<RegistryHabits> =>
  fc.record({
    // The least that takes any path: its entries, its NAR, and the pack with its listing.
    maxLayers: fc.constantFrom(1000, 6, 3),
    seed: fc.nat(),
    lagMs: fc.constantFrom(0, HOUR_MS / 6, HOUR_MS),
    lagShare: fc.constantFrom(0, 0.1, 0.4),
    lostShare: fc.constantFrom(0, 0.2),
  });

export const scenario = (): fc.Arbitrary<Scenario> =>
  fc.record({
    habits: habits(),
    rounds: fc.array(round(), { minLength: 1, maxLength: 7 }),
    manners: fc.constantFrom<Manners[]>('usual', 'usual', 'unequal', 'wild'),
  });

/** Perhaps, at one of its first calls of these. */
const heldAt = (...methods: StoreMethod[]): fc.Arbitrary<Fault[]> => {
  const kind = fc.constantFrom<FaultKind[]>('held', 'killed');
  const held = fc.record({ call: fc.nat({ max: 4 }), kind, method: fc.constantFrom(...methods) });
  return fc.array(held, { maxLength: 1 });
};

const publisher = (root: fc.Arbitrary<PathName>, faults: fc.Arbitrary<Fault[]>) =>
  fc.record({
    ...{ kind: fc.constant('publish' as const), skewHours: fc.constant(0), faults, root },
    ...{ source: fc.constant(undefined), sparse: fc.boolean(), retainDays: fc.constantFrom(30, 90) },
    key: fc.constantFrom(...KEYS),
  });

const collector = (faults: fc.Arbitrary<Fault[]>) =>
  fc.record({ kind: fc.constant('gc' as const), skewHours: fc.constant(0), faults, retainDays: fc.constant(7) });

const reader = (faults: fc.Arbitrary<Fault[]>) =>
  fc.record({ kind: fc.constant('read' as const), skewHours: fc.constant(0), faults });

const inAnyOrder = { seed: fc.nat(), choices: fc.nat({ max: 600 }) };

/** `actors` at the same time, after the rounds of `before`. */
const raced = (before: fc.Arbitrary<Round[]>, actors: fc.Arbitrary<readonly ActorSpec[]>): fc.Arbitrary<Scenario> =>
  fc.record({
    habits: fc.record({
      ...{ maxLayers: fc.constantFrom(1000, 6), seed: fc.nat() },
      ...{ lagMs: fc.constant(0), lagShare: fc.constant(0), lostShare: fc.constant(0) },
    }),
    rounds: fc
      .tuple(before, fc.record({ hours: fc.constant(20), actors, ...inAnyOrder }))
      .map(([rounds, last]) => [...rounds, last]),
    manners: fc.constant<Manners>('unequal'),
  });

/** A gc of short retention beside publishers of a longer one and a reader, each perhaps held while the others do all of their work. */
export const race = (): fc.Arbitrary<Scenario> => {
  const faults = heldAt('pushManifest', 'listTags');
  const publish = publisher(fc.constantFrom(...PATH_NAMES), faults);
  const gc = collector(faults);
  const read = reader(heldAt('fetchBlob'));
  const old = fc.record({ hours: fc.constantFrom(2, 240), actors: fc.tuple(publish), ...inAnyOrder });
  return raced(
    fc.tuple(old, old),
    fc.oneof(fc.tuple(gc, publish, publish), fc.tuple(gc, publish, read), fc.tuple(gc, read)),
  );
};

/** The same at its closest: what gc is about to drop is published again, or read, and each is held where that may matter. */
export const closeRace = (): fc.Arbitrary<Scenario> => {
  const once = (root: PathName) =>
    fc.record({
      hours: fc.constant(240),
      actors: fc.tuple(publisher(fc.constant(root), fc.constant([]))),
      ...inAnyOrder,
    });
  const held = (method: StoreMethod, max: number): fc.Arbitrary<Fault[]> =>
    fc.tuple(fc.record({ call: fc.nat({ max }), kind: fc.constant<FaultKind>('held'), method: fc.constant(method) }));
  const again = publisher(fc.constant('curl'), held('pushManifest', 0));
  const read = reader(held('fetchBlob', 4));
  const actors = fc.oneof(
    fc.tuple(collector(held('pushManifest', 3)), again),
    fc.tuple(collector(fc.constant([])), read),
  );
  return raced(fc.tuple(once('curl'), once('libc')), actors);
};
