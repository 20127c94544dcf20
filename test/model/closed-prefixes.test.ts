/**
 * Whoever writes to a cache may be killed anywhere: after each change that it makes, everything that is live has all that
 * it refers to. Every way in is held to that, in every order of closures and for any limit on layers, and also where the
 * registry loses what was stored before it is named.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hashPartFor } from '../support/cache-builder.ts';
import { Coin } from './coin.ts';
import { closureOf, PATH_NAMES } from './model-paths.ts';
import {
  commitsBackwards,
  healsBackwards,
  killsBeforeItWrites,
  kindOfTag,
  overriding,
  seesNoReferences,
} from './planted-bugs.ts';
import { runsOf } from './runs.ts';
import type { SimulatedRegistry } from './simulated-registry.ts';
import { Truth } from './truth.ts';
import { connect, prepared, type Setting, ticking, WAYS_IN, type WayIn } from './ways-in.ts';
import type { ModelStore } from './world.ts';

const RUNS = runsOf('closed prefixes', 40);
/** Each is found within a hundred. */
const BUG_RUNS = { ...RUNS, numRuns: 1000 };
const TIMEOUT_MS = 60_000;

const roots = (minLength: number) => fc.uniqueArray(fc.constantFrom(...PATH_NAMES), { minLength, maxLength: 4 });

const setting = (): fc.Arbitrary<Setting> =>
  fc.record({
    maxLayers: fc.constantFrom(3, 4, 6, 1000),
    had: roots(0),
    roots: roots(1),
    lossAt: fc.nat({ max: 3 }),
    seed: fc.nat(),
  });

/** In which what is lost often takes more layers when it is stored again. */
const lossySetting = (): fc.Arbitrary<Setting> =>
  fc.record({
    maxLayers: fc.constantFrom(3, 4),
    had: fc.constant([]),
    roots: roots(1),
    lossAt: fc.integer({ min: 1, max: 2 }),
    seed: fc.nat(),
  });

type Bug = (store: ModelStore) => Partial<ModelStore>;

/** What is wrong at some instant or in the end, if anything. */
async function faultOf(way: WayIn, each: Setting, bug: Bug = () => ({}), isLax = false): Promise<string | undefined> {
  const coin = new Coin(each.seed);
  const registry = await prepared(way, each, coin, isLax);
  const truth = new Truth(registry);
  const before = new Set(truth.look().damage);
  const faults: string[] = [];
  registry.onChange = (change) => {
    const { damage, open } = truth.look();
    faults.push(...[...damage.filter((what) => !before.has(what)), ...open].map((what) => `${change}: ${what}`));
  };
  const lossy = connect(registry);
  const store = way.heals === false ? lossy : overriding(lossy, losing(registry, lossy, each.lossAt, coin));
  await way.write(overriding(store, bug(store)), each, ticking(registry));
  const { live } = truth.look();
  const owed = way.owed?.(each) ?? [...each.had, ...each.roots].flatMap(closureOf);
  return faults[0] ?? owed.map((name) => `${name} is not there`).find((_, i) => !live.has(hashPartFor(owed[i] ?? '')));
}

/** Some of what no tag reaches is gone before the segment `nth` is named. */
function losing(registry: SimulatedRegistry, store: ModelStore, nth: number, coin: Coin): Partial<ModelStore> {
  let count = 0;
  return {
    pushManifest: (tag, mediaType, bytes, options) => {
      if (kindOfTag(tag) === 'segment' && ++count === nth) {
        const reached = registry.reachable();
        for (const digest of registry.blobs.keys()) {
          if (!reached.has(digest) && coin.falls(0.5)) registry.blobs.delete(digest);
        }
      }
      return store.pushManifest(tag, mediaType, bytes, options);
    },
  };
}

const holds = (way: WayIn, settings: fc.Arbitrary<Setting>) =>
  fc.asyncProperty(settings, async (each) => {
    expect(await faultOf(way, each)).toBeUndefined();
  });

test.each(Object.entries(WAYS_IN))(
  '%s leaves a closed cache at every instant',
  (_, way) => fc.assert(holds(way, setting()), RUNS),
  TIMEOUT_MS,
);

/** Those whose bytes come anew, in packs of their own; a copy of entries keeps their blobs. */
const HEALERS = ['a publish', 'a copy of a binary cache'];

const wayCalled = (name: string): WayIn => WAYS_IN[name] ?? raise(`${name} is no way in`);

test.each(HEALERS)(
  '%s does so also while it stores again what was lost',
  (name) => fc.assert(holds(wayCalled(name), lossySetting()), RUNS),
  TIMEOUT_MS,
);

const BACKWARDS = Object.keys(WAYS_IN).filter((name) => !name.startsWith('a repair'));
const PLANTED: readonly (readonly [way: string, does: string, bug: Bug, where: 'anywhere' | 'lossy' | 'lax'])[] = [
  ...BACKWARDS.map((name) => [name, 'commits its segments backwards', commitsBackwards, 'anywhere'] as const),
  ...HEALERS.map((name) => [name, 'stores again backwards', healsBackwards, 'lossy'] as const),
  ['a repair out of damaged packs', 'replaces segments before their successors are there', killsBeforeItWrites, 'lax'],
  ['a repair that drops', 'looks at no references', seesNoReferences, 'anywhere'],
];

test.each(PLANTED)(
  '%s that %s is found out',
  async (name, _, bug, where) => {
    const settings = where === 'lossy' ? lossySetting() : setting();
    const property = fc.asyncProperty(settings, async (each) => {
      const fault = await faultOf(wayCalled(name), each, bug, where === 'lax');
      expect(fault ?? '').not.toMatch(/refers to|reached from no tag/);
    });
    const found = await fc.check(property, { ...BUG_RUNS, endOnFailure: true });
    expect(found.failed, `not found in ${found.numRuns} runs from seed ${BUG_RUNS.seed}`).toBe(true);
  },
  TIMEOUT_MS,
);

function raise(message: string): never {
  throw new Error(message);
}
