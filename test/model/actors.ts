/** Those who use the cache, by the real code: each is an async function whose store calls are its only steps. */
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { readCatalog } from '../../src/catalog/catalog.ts';
import { removePin, setPin } from '../../src/catalog/pin.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../src/errors.ts';
import { runGc } from '../../src/gc/gc.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import { asRoots, publishPaths } from '../../src/publish/publish-paths.ts';
import { pushPaths } from '../../src/publish/push-paths.ts';
import { readAll } from '../support/bytes.ts';
import { baseNameFor } from '../support/cache-builder.ts';
import { HOUR_MS } from './ledger.ts';
import {
  closureOf,
  infosOf,
  modelPool,
  modelSpool,
  modelStore,
  nameOfHash,
  type PathName,
  storePathOf,
} from './model-paths.ts';
import type { Fault } from './simulated-store.ts';
import type { ModelStore, World } from './world.ts';

export type ActorSpec = {
  /** How fast the actor's clock is. */
  readonly skewHours: number;
  readonly faults: readonly Fault[];
} & (
  | {
      readonly kind: 'publish';
      readonly root: PathName;
      readonly source: string | undefined;
      /** Fetches only the entries that it has to assert, where a look-up table says what else there is. */
      readonly sparse: boolean;
      /** What it takes the retention for. */
      readonly retainDays: number;
      /** Signs, also what is there already. */
      readonly key?: KeyName | undefined;
      /** The call at which somebody interrupts it; undefined: none. */
      readonly interruptedAt?: number | undefined;
    }
  | { readonly kind: 'gc'; readonly retainDays: number }
  | { readonly kind: 'read' }
  | { readonly kind: 'pin'; readonly name: string; readonly path: PathName }
  | { readonly kind: 'unpin'; readonly name: string }
);

/** Two publishers that trust their own keys alone. */
const KEY_NAMES = ['one-1', 'two-1'] as const;
type KeyName = (typeof KEY_NAMES)[number];
const MODEL_KEYS = Object.fromEntries(
  KEY_NAMES.map((name) => [name, parseSecretKey(generateKey(name).secret)]),
) as Readonly<Record<KeyName, SecretKey>>;

/** Runs one actor. Errors that are meant for users end it; any other is a bug, and breaks the run. */
export async function act(spec: ActorSpec, world: World, reader: LongReader): Promise<void> {
  try {
    world.tell(`${nameOf(spec)} begins`);
    await perform(spec, world, reader);
    world.tell(`${nameOf(spec)} is done`);
  } catch (error) {
    world.tell(`${nameOf(spec)} fails: ${messageOf(error)}`);
    if (!isNixcacheError(error)) world.fail(`${nameOf(spec)}: ${error instanceof Error ? error.stack : error}`);
  }
}

function perform(spec: ActorSpec, world: World, reader: LongReader): Promise<void> {
  const now = (): Date => new Date(world.registry.now + spec.skewHours * world.terms.skewFactor * HOUR_MS);
  switch (spec.kind) {
    case 'publish':
      return publish(spec, world, now);
    case 'gc':
      return collect(spec.retainDays, world.connect('gc', spec.faults), world, now);
    case 'pin':
    case 'unpin':
      return pin(spec, world, now);
    case 'read':
      return reader.read(spec.faults);
  }
}

const nameOf = (spec: ActorSpec): string => {
  if (spec.kind === 'publish') return `publish ${spec.root}`;
  return spec.kind === 'pin' || spec.kind === 'unpin' ? `${spec.kind} ${spec.name}` : spec.kind;
};

async function publish(
  { root, source, sparse, faults, retainDays, key, interruptedAt }: ActorSpec & { readonly kind: 'publish' },
  world: World,
  now: () => Date,
): Promise<void> {
  const { registry, ledger, behaviour } = world;
  const interrupt = new AbortController();
  const store = interrupting(world.connect('publish', faults), interruptedAt, interrupt);
  const time = Math.floor(now().getTime() / 1000);
  const names = closureOf(root);
  const promise = ledger.begin({ group: source ?? '', time, at: registry.now, names, key });
  const roots = asRoots([{ name: root, path: storePathOf(root) }], {
    run: `${now().getTime()} ${root}`,
    time,
    ...(source !== undefined && { source }),
  });
  const common = {
    store,
    roots,
    keys: key === undefined ? [] : [MODEL_KEYS[key]],
    creator: 'model',
    compression: { method: 'zstd' },
    ...{ pool: modelPool, spool: modelSpool },
  } as const;
  if (behaviour.referrersFirst) {
    await pushPaths({
      ...{ ...common, push: infosOf(names), asserted: [], storeDir: '/nix/store', workers: 2, now },
      contentPath: ({ path }) => path,
      onEvent: () => undefined,
    });
  } else {
    const { outcome } = await publishPaths({
      ...{
        ...common,
        signal: interrupt.signal,
        stopLimits: UNHURRIED,
        localStore: modelStore,
        paths: [storePathOf(root)],
        upstreams: [],
        onUpstreamFailure: 'push',
      },
      reader: await IndexReader.open({ store, strict: true, sparse, now }),
      ...{ excludePaths: [], maxNarBytes: undefined, workers: 2, dryRun: false, now },
      retainSeconds: world.retainSeconds(retainDays),
      onEvent: (event) => event.type === 'warning' && world.tell(`publish ${root} warns: ${event.message}`),
    });
    if (outcome?.stopped && !outcome.stopped.isInterrupted && outcome.segments.length === 0)
      throw outcome.stopped.cause;
    if (outcome?.stopped) {
      world.tell(`publish ${root} ends early: ${messageOf(outcome.stopped.cause)}`);
      const pushed = new Set(outcome.pushed.map(({ path }) => nameOfHash.get(hashPartOf(path))));
      promise.names = names.filter((name) => pushed.has(name));
      promise.hasRoots = false;
      if (!isNixcacheError(outcome.stopped.cause)) throw outcome.stopped.cause;
    }
  }
  promise.isCommitted = true;
  world.check();
}

/** What is given up by the clock is the real one's, which the model has no part in: these never come. */
const NEVER_MS = 2 ** 31 - 1;
const UNHURRIED = {
  interrupt: { uploadMs: NEVER_MS, endMs: NEVER_MS },
  failure: { uploadMs: NEVER_MS, endMs: NEVER_MS },
};

/** `store`, whose user is interrupted at its call number `at`. */
function interrupting(store: ModelStore, at: number | undefined, interrupt: AbortController): ModelStore {
  let calls = 0;
  return new Proxy(store, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...args: readonly unknown[]) => {
        if (calls++ === at) interrupt.abort(new NixcacheError('ERR_INTERRUPTED', 'interrupted'));
        return value.apply(target, args);
      };
    },
  });
}

/** A gc, as the weekly job runs it. */
export async function collect(retainDays: number, store: ModelStore, world: World, now: () => Date): Promise<void> {
  await runGc({
    ...{ store, reader: await IndexReader.open({ store, strict: true, now }), creator: 'model', dryRun: false, now },
    retainSeconds: world.retainSeconds(retainDays),
    graceSeconds: world.behaviour.graceMs / 1000,
    lookupFromEntries: 1,
    onEvent: (event) => event.type === 'warning' && world.tell(`gc warns: ${event.message}`),
  });
}

async function pin(spec: ActorSpec & { readonly kind: 'pin' | 'unpin' }, world: World, now: () => Date): Promise<void> {
  const store = world.connect('pin', spec.faults);
  const attempt = world.ledger.beginPin(spec.name, world.registry.now);
  const reader = await IndexReader.open({ store, strict: true, now });
  const onWarning = (message: string): void => world.tell(`${spec.kind} warns: ${message}`);
  const catalog = await readCatalog({ store, reader, onWarning });
  const options = { store, catalog, creator: 'model', onWarning, now };
  if (spec.kind === 'unpin') {
    await removePin(spec.name, options);
    return;
  }
  // What the cache has of it: a pin makes nothing that is not there.
  const names = closureOf(spec.path).filter((name) => reader.has(hashPartOf(baseNameFor(name))));
  await setPin(spec.name, baseNameFor(spec.path), options);
  attempt.owed = names;
  world.check();
}

/** One who reads for as long as the run lasts, like serve: learns what changed, and gets from it what it can. */
export class LongReader {
  readonly #world: World;
  readonly #open: (store: ModelStore) => Promise<IndexReader>;
  #reader: { readonly index: IndexReader; readonly line: SwitchedLine } | undefined;

  constructor(world: World) {
    this.#world = world;
    this.#open = (store) => IndexReader.open({ store, strict: false, now: () => new Date(world.registry.now) });
  }

  /** Refreshes, then reads every NAR. Behind the registry or not, whatever it sees it must get. */
  async read(faults: readonly Fault[]): Promise<void> {
    this.#reader ??= await this.#connect();
    const { index, line } = this.#reader;
    line.switchTo(this.#world.connect('read', faults));
    await index.refresh();
    for (const { entry } of index.entries()) {
      const name = nameOfHash.get(hashPartOf(entry.narInfo.path));
      try {
        await readAll(await index.openNar(entry));
      } catch (error) {
        if (isNixcacheError(error, 'ERR_NETWORK')) throw error; // the line's fault, not the cache's
        if (this.#world.terms.isWild) continue; // its view may be older than the grace period
        this.#world.fail(`a reader sees ${name} and cannot get it: ${messageOf(error)}`);
      }
    }
  }

  /** What it sees, as clients get it, by path. */
  view(): ReadonlyMap<string, string> {
    const index = this.#reader?.index;
    const seen = [...(index?.entries() ?? [])].map(({ entry }) => entry.narInfo.path as string);
    return new Map(seen.sort().map((path) => [path, index?.findNarInfoText(hashPartOf(path as never)) ?? '']));
  }

  async #connect(): Promise<{ readonly index: IndexReader; readonly line: SwitchedLine }> {
    const line = new SwitchedLine(this.#world.connect('read', []));
    return { index: await this.#open(line.store), line };
  }
}

/** A store that is another one from time to time. */
class SwitchedLine {
  readonly store: ModelStore;
  #target: ModelStore;

  constructor(target: ModelStore) {
    this.#target = target;
    this.store = new Proxy(target, {
      get: (_, key) => {
        const value: unknown = Reflect.get(this.#target, key, this.#target);
        return typeof value === 'function' ? value.bind(this.#target) : value;
      },
    });
  }

  switchTo(target: ModelStore): void {
    this.#target = target;
  }
}
