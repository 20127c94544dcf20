/** One run of the model: the registry, who is at work, and the first promise that was broken. */
import { hashPartOf } from '../../src/nix/store-path.ts';
import type { ContentStore, Deleter } from '../../src/oci/content-store.ts';
import { baseNameFor } from '../support/cache-builder.ts';
import { Ledger } from './ledger.ts';
import { Scheduler } from './scheduler.ts';
import { type RegistryHabits, SimulatedRegistry } from './simulated-registry.ts';
import { type Fault, SimulatedStore } from './simulated-store.ts';
import { Truth } from './truth.ts';

export type ActorKind = 'publish' | 'gc' | 'pin' | 'read';
export type ModelStore = ContentStore & Deleter;

/** How the code under test is used; planted bugs change it. */
export interface Behaviour {
  /** What publishers take the retention for. */
  readonly publishRetainMs: number;
  readonly graceMs: number;
  readonly wrap: (store: ModelStore, kind: ActorKind, registry: SimulatedRegistry) => ModelStore;
  /** Publishers commit what refers before what it refers to. */
  readonly referrersFirst: boolean;
  /** The registry takes manifests whose content is not there. */
  readonly isLax: boolean;
}

export class World {
  readonly registry: SimulatedRegistry;
  readonly scheduler = new Scheduler();
  readonly ledger = new Ledger();
  readonly behaviour: Behaviour;
  /**
   * Whether no two gcs overlap: then nothing live ever lacks a reference. Of two, one may keep what the other, whose clock
   * is ahead, drops a reference of; that is dropped by the next one.
   */
  readonly gcsApart: boolean;
  readonly story: string[] = [];
  readonly #truth: Truth;
  #broken: string | undefined;

  constructor(habits: RegistryHabits, start: number, behaviour: Behaviour, gcsApart: boolean) {
    this.registry = new SimulatedRegistry({ ...habits, isLax: behaviour.isLax }, start);
    this.behaviour = behaviour;
    this.gcsApart = gcsApart;
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

  /** A connection for an actor of `kind`. */
  connect(kind: ActorKind, faults: readonly Fault[]): ModelStore {
    const { registry, scheduler } = this;
    const store = new SimulatedStore({ registry, faults, turn: () => scheduler.turn() });
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
    if (this.gcsApart || settled) for (const problem of open) this.fail(problem);
    for (const [name, why] of this.ledger.owed(this.registry.now)) {
      if (!live.has(hashPartOf(baseNameFor(name)))) this.fail(`${name}, ${why}, is lost`);
    }
  }
}
