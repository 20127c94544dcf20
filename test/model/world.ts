/** One run of the model: the registry, who is at work, and the first promise that was broken. */
import { hashPartOf } from '../../src/nix/store-path.ts';
import type { ContentStore, Deleter } from '../../src/oci/content-store.ts';
import { baseNameFor } from '../support/cache-builder.ts';
import { DAY_MS, Ledger, type Terms } from './ledger.ts';
import { Scheduler } from './scheduler.ts';
import { type RegistryHabits, SimulatedRegistry } from './simulated-registry.ts';
import { type Fault, SimulatedStore } from './simulated-store.ts';
import { Truth } from './truth.ts';

export type ActorKind = 'publish' | 'gc' | 'pin' | 'read';
export type ModelStore = ContentStore & Deleter;

/** How the code under test is used; planted bugs change it. */
export interface Behaviour {
  readonly graceMs: number;
  readonly wrap: (store: ModelStore, kind: ActorKind, registry: SimulatedRegistry) => ModelStore;
  /** Publishers commit what refers before what it refers to. */
  readonly referrersFirst: boolean;
  /** The registry takes manifests whose content is not there. */
  readonly isLax: boolean;
}

export const USUAL_RETAIN_DAYS = 30;

export interface WorldTerms extends Terms {
  /** Clocks are days apart, and calls take days. */
  readonly isWild: boolean;
  /** All are told the same retention, whatever they are specified to be told. */
  readonly isUsual: boolean;
  /** By which the skew of actors' clocks is multiplied. */
  readonly skewFactor: number;
  /**
   * Whether nothing live ever lacks a reference: no two gcs overlap, and retentions are equal. Else a reference may be
   * missing between a commit and the look after it, or until the next gc.
   */
  readonly staysClosed: boolean;
  /** Whether what is owed is there at any instant; else only once all work has come to its end. */
  readonly keepsAtOnce: boolean;
}

export class World {
  readonly registry: SimulatedRegistry;
  readonly scheduler = new Scheduler();
  readonly ledger: Ledger;
  readonly behaviour: Behaviour;
  readonly terms: WorldTerms;
  readonly story: string[] = [];
  readonly #truth: Truth;
  #broken: string | undefined;

  constructor(habits: RegistryHabits, start: number, behaviour: Behaviour, terms: WorldTerms) {
    this.registry = new SimulatedRegistry({ ...habits, isLax: behaviour.isLax }, start);
    this.behaviour = behaviour;
    this.terms = terms;
    this.ledger = new Ledger(terms);
    this.#truth = new Truth(this.registry);
    this.registry.onChange = (change) => {
      this.tell(change);
      this.check();
    };
  }

  /** The first broken promise. */
  get broken(): string | undefined {
    return this.#broken;
  }

  tell(what: string): void {
    this.story.push(`${new Date(this.registry.now).toISOString()} ${what}`);
  }

  fail(what: string): void {
    this.#broken ??= `${new Date(this.registry.now).toISOString()} ${what}`;
  }

  /** What is taken for the retention by who is told `days`. */
  retainSeconds(days: number): number {
    return ((this.terms.isUsual ? USUAL_RETAIN_DAYS : days) * DAY_MS) / 1000;
  }

  /** A connection for an actor of `kind`. */
  connect(kind: ActorKind, faults: readonly Fault[]): ModelStore {
    const { registry, scheduler } = this;
    const store = new SimulatedStore({ registry, faults, turn: () => scheduler.turn(), hold: () => scheduler.hold() });
    return this.behaviour.wrap(store, kind, registry);
  }

  /**
   * Compares what is true with what was promised.
   *
   * @param settled whether all work has come to its end
   */
  check(settled = false): void {
    if (this.#broken !== undefined) return;
    const { live, damage, open } = this.#truth.look();
    for (const problem of damage) this.fail(problem);
    const { isWild, staysClosed, keepsAtOnce } = this.terms;
    if (staysClosed || (settled && !isWild)) for (const problem of open) this.fail(problem);
    if (!keepsAtOnce && !settled) return;
    for (const [name, why] of this.ledger.owed(this.registry.now)) {
      if (!live.has(hashPartOf(baseNameFor(name)))) this.fail(`${name}, ${why}, is lost`);
    }
  }
}
