/**
 * Whoever relies on what the cache has may find that a gc drops it between its look and its commit, and that another deletes
 * it: every way in that relies on anything then makes it good before it ends.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { isNixcacheError } from '../../src/errors.ts';
import { runGc } from '../../src/gc/gc.ts';
import { hashPartFor } from '../support/cache-builder.ts';
import { Coin } from './coin.ts';
import { DAY_MS } from './ledger.ts';
import { closureOf, PATH_NAMES } from './model-paths.ts';
import { kindOfTag, overriding } from './planted-bugs.ts';
import { runsOf } from './runs.ts';
import type { SimulatedRegistry } from './simulated-registry.ts';
import { Truth } from './truth.ts';
import { connect, prepared, publish, type Setting, ticking, WAYS_IN, type WayIn } from './ways-in.ts';
import type { ModelStore } from './world.ts';

const RUNS = runsOf('a gc in between', 40);
const TIMEOUT_MS = 60_000;

interface Interruption {
  readonly setting: Setting;
  /** Before which of the writer's segments the first gc runs. */
  readonly nth: number;
  /** Whether another gc then deletes what that one dropped. */
  readonly isDeleted: boolean;
}

const interruption = (): fc.Arbitrary<Interruption> => {
  const some = fc.uniqueArray(fc.constantFrom(...PATH_NAMES), { minLength: 1, maxLength: 4 });
  return fc.record({
    setting: fc.record({
      maxLayers: fc.constantFrom(3, 6, 1000),
      ...{ had: some, roots: some, lossAt: fc.constant(0), seed: fc.nat() },
    }),
    nth: fc.integer({ min: 1, max: 3 }),
    isDeleted: fc.boolean(),
  });
};

/** A gc with a retention of 30 days and a grace period of a day. */
async function collect(registry: SimulatedRegistry): Promise<void> {
  const [store, now] = [connect(registry), ticking(registry)];
  const reader = await IndexReader.open({ store, strict: true, now });
  await runGc({
    ...{ store, reader, creator: 'model', dryRun: false, now, onEvent: () => undefined },
    ...{ retainSeconds: (30 * DAY_MS) / 1000, graceSeconds: DAY_MS / 1000 },
  });
}

/** What is wrong in the end, if anything. */
async function faultOf(way: WayIn, { setting, nth, isDeleted }: Interruption): Promise<string | undefined> {
  const registry = await prepared(way, setting, new Coin(setting.seed), false);
  // What was there is nobody's root any more, and old.
  await publish(connect(registry), ['docs'], ticking(registry));
  registry.now += 40 * DAY_MS;
  let count = 0;
  const store = connect(registry);
  const interrupted: Partial<ModelStore> = {
    pushManifest: async (tag, mediaType, bytes, options) => {
      if (kindOfTag(tag) === 'segment' && ++count === nth) {
        await collect(registry);
        registry.now += 2 * DAY_MS;
        if (isDeleted) await collect(registry);
      }
      return store.pushManifest(tag, mediaType, bytes, options);
    },
  };
  try {
    await way.write(overriding(store, interrupted), setting, ticking(registry));
  } catch (error) {
    // Who is away for longer than the grace period is told that it was too long.
    if (isDeleted && isNixcacheError(error)) return undefined;
    throw error;
  }
  const { live, damage, open } = new Truth(registry).look();
  const lacking = setting.roots.flatMap(closureOf).find((name) => !live.has(hashPartFor(name)));
  return damage[0] ?? open[0] ?? (lacking && `${lacking} is not there`);
}

const RELYING = [
  'a publish',
  'a copy of segments as they are',
  'a copy of entries',
  'a copy of paths',
  'a copy of a binary cache',
];

test.each(RELYING)(
  '%s makes good what a gc takes from under it',
  (name) => {
    const way = WAYS_IN[name];
    if (!way) throw new Error(`${name} is no way in`);
    const property = fc.asyncProperty(interruption(), async (each) => {
      expect(await faultOf(way, each)).toBeUndefined();
    });
    return fc.assert(property, RUNS);
  },
  TIMEOUT_MS,
);
