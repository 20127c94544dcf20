/** A scenario, and its run: rounds of actors at work at the same time, days apart, then peace, in which all must be well. */
import { hashPartOf } from '../../src/nix/store-path.ts';
import { type ActorSpec, act, collect, LongReader } from './actors.ts';
import { Coin } from './coin.ts';
import { DAY_MS, GRACE_MS, HOUR_MS } from './ledger.ts';
import { nameOfHash, storePathOf } from './model-paths.ts';
import type { Choices } from './scheduler.ts';
import type { RegistryHabits } from './simulated-registry.ts';
import { type Behaviour, USUAL_RETAIN_DAYS, World, type WorldTerms } from './world.ts';

export interface Round {
  /** True hours since the round before. */
  readonly hours: number;
  readonly actors: readonly ActorSpec[];
  /** What the choices follow from, and how many: behind them each is the simplest. */
  readonly seed: number;
  readonly choices: number;
}

export interface Scenario {
  readonly habits: RegistryHabits;
  readonly rounds: readonly Round[];
  readonly manners: Manners;
}

/**
 * `usual`: all are told the same retention. `unequal`: each may be told another. `wild`: so too, clocks are days apart, and
 * between any two calls days may pass, longer than the grace period.
 */
export type Manners = 'usual' | 'unequal' | 'wild';

export const FAITHFUL: Behaviour = {
  graceMs: GRACE_MS,
  wrap: (store) => store,
  referrersFirst: false,
  isLax: false,
};

/** How fast or slow the clock of an actor may be. */
export const MAX_SKEW_HOURS = 3;
export const START = Date.UTC(2026, 0, 1);
/** How long a round's actors take at most, nearly: with two clocks 3 hours off and the registry's lag less than the grace. */
const MAX_ROUND_MS = 6 * HOUR_MS;
/** What may pass between two calls. */
const PAUSES_MS = [0, 0, 0, 0, 1000, 60_000, 10 * 60_000, HOUR_MS / 2];
/** Where everything is slow, one call in so many waits for days. */
const WAITS_DAYS_ONE_IN = 40;
const WILD_SKEW = 32;
/** How old the registry's garbage collector lets things become. */
const REAPER_AGES_MS = [DAY_MS, HOUR_MS, 0];
const REAPS_ONE_IN = 12;

export interface Outcome {
  /** The first promise that was broken, and how it came to that; undefined when all were kept. */
  readonly broken: string | undefined;
  readonly story: readonly string[];
}

export async function runScenario(scenario: Scenario, behaviour: Behaviour = FAITHFUL): Promise<Outcome> {
  const { habits, rounds } = scenario;
  const world = new World(habits, START, behaviour, termsOf(scenario));
  const reader = new LongReader(world);
  const restore = seedIds(habits.seed);
  try {
    for (const round of rounds) {
      if (world.broken !== undefined) break;
      await runRound(round, world, reader);
    }
    if (world.broken === undefined) await runPeace(world, reader);
    return { broken: world.broken, story: world.story };
  } finally {
    restore();
  }
}

function termsOf({ habits, rounds, manners }: Scenario): WorldTerms {
  const actors = rounds.flatMap((round) => round.actors);
  const gcsRetainDays = actors.flatMap((actor) => (actor.kind === 'gc' ? actor.retainDays : []));
  const isLagging = habits.lagMs > 0 && habits.lagShare > 0;
  const isUsual = manners === 'usual';
  const isWild = manners === 'wild';
  const skewFactor = isWild ? WILD_SKEW : 1;
  return {
    isWild,
    isUsual,
    skewFactor,
    skewMs: MAX_SKEW_HOURS * skewFactor * HOUR_MS,
    retainMs: (isUsual ? USUAL_RETAIN_DAYS : Math.min(USUAL_RETAIN_DAYS, ...gcsRetainDays)) * DAY_MS,
    staysClosed: isUsual && rounds.every((round) => round.actors.filter(({ kind }) => kind === 'gc').length <= 1),
    keepsAtOnce: !isLagging || isUsual,
  };
}

/** Everybody at work at once, until all are done. */
export async function runRound(
  { hours, actors, seed, choices }: Round,
  world: World,
  reader: LongReader,
): Promise<void> {
  const { registry, scheduler } = world;
  registry.now += hours * HOUR_MS;
  const end = registry.now + MAX_ROUND_MS;
  const running = actors.map((spec) => act(spec, world, reader));
  await scheduler.run(running, {
    choices: limited(new Coin(seed), choices),
    stopped: () => world.broken !== undefined,
    onStep: (next) => {
      const pause = PAUSES_MS[next.next(PAUSES_MS.length)] ?? 0;
      registry.now += 1 + (registry.now < end ? pause : 0);
      if (world.terms.isWild && next.next(WAITS_DAYS_ONE_IN) === WAITS_DAYS_ONE_IN - 1) {
        registry.now += (1 + next.next(4)) * DAY_MS;
      }
      // One that takes manifests without looking must not collect what they are about to name.
      if (next.next(REAPS_ONE_IN) === REAPS_ONE_IN - 1 && !world.behaviour.isLax) {
        registry.collectGarbage(REAPER_AGES_MS[next.next(REAPER_AGES_MS.length)] ?? 0);
      }
    },
  });
}

function limited(coin: Coin, count: number): Choices {
  let left = count;
  return { next: (below) => (left-- > 0 ? coin.next(below) : 0) };
}

/** Nothing lags and nothing fails any more: gc finds its way, readers agree, everything owed can be read. */
async function runPeace(world: World, reader: LongReader): Promise<void> {
  const { registry, scheduler } = world;
  registry.isLagging = false;
  const alone = async (what: string, work: () => Promise<void>): Promise<void> => {
    const guarded = work().catch((error: unknown) => world.fail(`in peace ${what} fails: ${error}`));
    await scheduler.run([guarded], {
      choices: { next: () => 0 },
      stopped: () => world.broken !== undefined,
      onStep: () => registry.now++,
    });
  };
  const now = (): Date => new Date(registry.now);
  for (let i = 0; i < 3; i++) {
    registry.now += 2 * DAY_MS;
    await alone('gc', () => collect(USUAL_RETAIN_DAYS, world.connect('gc', []), world, now));
    registry.collectGarbage(0);
  }
  await alone('reading', () => reader.read([]));
  await alone('reading afresh', async () => {
    const fresh = new LongReader(world);
    await fresh.read([]);
    const [one, other] = [reader.view(), fresh.view()].map((view) => JSON.stringify([...view]));
    if (one !== other) world.fail('two readers do not see the same');
    const seen = new Set([...fresh.view().keys()].map((path) => nameOfHash.get(hashPartOf(path as never))));
    for (const [name, why] of world.ledger.owed(registry.now)) {
      if (!seen.has(name)) world.fail(`in peace no reader sees ${name}, ${why}`);
    }
    for (const [name, key] of world.ledger.owedSignatures(registry.now)) {
      const text = fresh.view().get(storePathOf(name));
      if (!text?.includes(`\nSig: ${key}:`)) world.fail(`in peace ${name} lacks the signature of ${key}`);
    }
  });
  world.check(true);
}

/** Makes the random part of tags follow from `seed`, so that a run is the same each time. Returns what undoes it. */
function seedIds(seed: number): () => void {
  const coin = new Coin(~seed);
  const { crypto } = globalThis;
  const fill = (array: Uint8Array): Uint8Array => array.map(() => coin.next(256));
  Object.defineProperty(crypto, 'getRandomValues', {
    configurable: true,
    value: (array: Uint8Array) => {
      array.set(fill(array));
      return array;
    },
  });
  return () => Reflect.deleteProperty(crypto, 'getRandomValues');
}
