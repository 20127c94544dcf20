/** Every way into a cache that writes segments, but for gc's own, run alone and by the real code over a simulated registry. */
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { convertLegacy } from '../../src/cache/write/convert-legacy.ts';
import { infosInOrder } from '../../src/cache/write/references-first.ts';
import { NAR, PACK } from '../../src/cache-index/media-types.ts';
import { copyUpstream } from '../../src/copy/copy-upstream.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { baseNameOf, nameOf } from '../../src/nix/store-path.ts';
import { asRoots, publishPaths } from '../../src/publish/publish-paths.ts';
import { pushPaths } from '../../src/publish/push-paths.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import type { LocalSource } from '../../src/verify/local-source.ts';
import { binaryCacheFiles, narFor, writeBinaryCache } from '../support/binary-cache.ts';
import { copyBetween } from '../support/copy-runs.ts';
import { writeLegacyCache } from '../support/legacy-cache.ts';
import { tempDir } from '../support/temp-dir.ts';
import { flipped } from '../support/vandal.ts';
import { REPAIR, verify } from '../support/verify-runs.ts';
import type { Coin } from './coin.ts';
import {
  closureOf,
  infosOf,
  modelPool,
  modelSpool,
  modelStore,
  PATH_NAMES,
  type PathName,
  storePathOf,
} from './model-paths.ts';
import { START } from './scenario.ts';
import { SimulatedRegistry } from './simulated-registry.ts';
import { SimulatedStore } from './simulated-store.ts';
import type { ModelStore } from './world.ts';

export interface Setting {
  readonly maxLayers: number;
  /** Closures published to the cache before; and, one after another, to where a copy is made from. */
  readonly had: readonly PathName[];
  readonly roots: readonly PathName[];
  /** The commit before which the registry loses some of what no manifest names yet; 0: none. */
  readonly lossAt: number;
  readonly seed: number;
}

export interface WayIn {
  /** Makes the cache as it is before. */
  readonly prepare?: (registry: SimulatedRegistry, setting: Setting, coin: Coin) => Promise<void>;
  readonly write: (store: ModelStore, setting: Setting, now: () => Date) => Promise<unknown>;
  /** What of `setting` must be there in the end; default all. */
  readonly owed?: (setting: Setting) => readonly PathName[];
  /** Whether it has the bytes that the registry loses from elsewhere. */
  readonly heals?: false;
}

const KEY = parseSecretKey(generateKey('ways-1').secret);

/** A connection on which every call is answered at once. */
export const connect = (registry: SimulatedRegistry): ModelStore =>
  new SimulatedStore({ registry, turn: () => Promise.resolve() });

/** A clock that no two segments see at the same time. */
export const ticking = (registry: SimulatedRegistry) => (): Date => new Date(registry.now++);

const newRegistry = ({ maxLayers, seed }: Setting, isLax = false): SimulatedRegistry =>
  new SimulatedRegistry({ maxLayers, seed, isLax, lagMs: 0, lagShare: 0, lostShare: 0 }, START);

export async function publish(store: ModelStore, roots: readonly PathName[], now: () => Date): Promise<void> {
  const paths = roots.map(storePathOf);
  const named = roots.map((name, i) => ({ name, path: paths[i] ?? storePathOf(name) }));
  await publishPaths({
    ...{ store, localStore: modelStore, paths, upstreams: [], onUpstreamFailure: 'push', keys: [] },
    reader: await IndexReader.open({ store, strict: true, now }),
    roots: asRoots(named, { run: String(now().getTime()), time: Math.floor(now().getTime() / 1000) }),
    ...{
      excludePaths: [],
      maxNarBytes: undefined,
      compression: { method: 'zstd' },
      pool: modelPool,
      spool: modelSpool,
      workers: 2,
    },
    ...{ dryRun: false, retainSeconds: 60 * 24 * 60 * 60, creator: 'model', onEvent: () => undefined, now },
  });
}

/** The cache as `had` leaves it. */
export async function prepared(way: WayIn, setting: Setting, coin: Coin, isLax: boolean): Promise<SimulatedRegistry> {
  const registry = newRegistry(setting, isLax);
  if (way.prepare) await way.prepare(registry, setting, coin);
  else if (setting.had.length > 0) await publish(connect(registry), setting.had, ticking(registry));
  return registry;
}

/** A cache that got `roots` in their order. */
async function sourceOf(setting: Setting): Promise<ModelStore> {
  const registry = newRegistry(setting);
  for (const root of setting.roots) await publish(connect(registry), [root], ticking(registry));
  return connect(registry);
}

const pathSpec = ({ path, references, narSize }: PathInfo) => ({
  name: nameOf(path),
  references: references.map(nameOf),
  // As the model's NARs are made: what is around the bytes of its one file takes less than half a kilobyte.
  bytes: narSize > 1024 ? 64 * 1024 + 1 : 100,
});

/** All of the model's paths as a binary cache in a directory. */
async function directoryUpstream(): Promise<Upstream> {
  const specs = infosOf(PATH_NAMES).map((info) => ({ ...pathSpec(info), compression: 'zstd' as const }));
  const url = await writeBinaryCache(await tempDir(), binaryCacheFiles(specs));
  return new Upstream(parseUpstream(url), { http: new HttpClient() });
}

/** The cache with `had`, with other bytes in some NARs and packs, or none where `change` gives none. */
async function damage(
  registry: SimulatedRegistry,
  setting: Setting,
  coin: Coin,
  change: (bytes: Buffer) => Buffer | undefined,
): Promise<void> {
  await publish(connect(registry), setting.had.length > 0 ? setting.had : ['suite'], ticking(registry));
  const blobs = [...registry.manifests.keys()].flatMap((digest) => registry.contentOf(digest)?.blobs ?? []);
  for (const { digest, mediaType } of blobs) {
    const held = registry.blobs.get(digest);
    if (!held || ![NAR, PACK].includes(mediaType) || !coin.falls(0.3)) continue;
    const bytes = change(held.bytes);
    if (bytes) registry.blobs.set(digest, { ...held, bytes });
    else registry.blobs.delete(digest);
  }
}

const localSource = (store: ModelStore, now: () => Date): LocalSource => ({
  signs: false,
  queryValid: async (paths) => modelStore.queryPathInfos(paths, {}),
  queryClosure: async (paths) => modelStore.queryClosure(paths, {}),
  push: async ({ infos, signal }) => {
    const outcome = await pushPaths({
      ...{ store, signal, storeDir: '/nix/store', creator: 'model', keys: [], asserted: [], roots: [], now },
      ...{ push: infosInOrder(infos), compression: { method: 'zstd' }, pool: modelPool, spool: modelSpool, workers: 2 },
      ...{ contentPath: ({ path }) => baseNameOf(path), onEvent: () => undefined },
    });
    return outcome.failed;
  },
});

const closures = (roots: readonly PathName[]): PathName[] => [...new Set(roots.flatMap(closureOf))];

export const WAYS_IN: Readonly<Record<string, WayIn>> = {
  'a publish': { write: (store, { roots }, now) => publish(store, roots, now) },
  'a copy of segments as they are': {
    write: async (store, setting, now) => copyBetween(await sourceOf(setting), store, { now }),
  },
  'a copy of entries': {
    write: async (store, setting, now) => copyBetween(await sourceOf(setting), store, { now, keys: [KEY] }),
  },
  'a copy of paths': {
    write: async (store, setting, now) => {
      const selection = { kind: 'some' as const, names: [], paths: setting.roots.map(storePathOf) };
      await copyBetween(await sourceOf(setting), store, { now, selection });
    },
  },
  'a copy of a binary cache': {
    write: async (store, { roots }, now) => {
      await copyUpstream({
        ...{
          destination: store,
          source: await directoryUpstream(),
          storeDir: '/nix/store',
          paths: roots.map(storePathOf),
        },
        reader: await IndexReader.open({ store, strict: true, now }),
        ...{ keys: [], trustedKeys: [], jobs: 3, dryRun: false, creator: 'model', run: 'run-1', now },
        onEvent: () => undefined,
      });
    },
  },
  'a conversion': {
    prepare: async (registry, { roots }) => {
      const paths = infosOf(closures(roots)).map((info) => {
        return { baseName: baseNameOf(info.path), nar: narFor(nameOf(info.path)), references: info.references };
      });
      await writeLegacyCache(connect(registry), paths);
    },
    write: (store, _setting, now) => convertLegacy({ store, creator: 'model', onEvent: () => undefined, now }),
    owed: ({ roots }) => closures(roots),
    heals: false,
  },
  'a repair out of the local store': {
    prepare: (registry, setting, coin) => damage(registry, setting, coin, () => undefined),
    write: (store, _setting, now) => verify(store, { repair: { ...REPAIR, local: localSource(store, now) }, now }),
    owed: ({ had }) => closures(had),
  },
  'a repair that drops': {
    prepare: (registry, setting, coin) => damage(registry, setting, coin, () => undefined),
    write: (store, _setting, now) => verify(store, { repair: REPAIR, now }),
    owed: () => [],
    heals: false,
  },
  'a repair out of damaged packs': {
    prepare: (registry, setting, coin) => damage(registry, setting, coin, flipped),
    write: (store, _setting, now) => verify(store, { contents: true, repair: REPAIR, now }),
    owed: () => [],
    heals: false,
  },
};
