/** Publishes over a test's store, with the clock of the test: `publish-paths.ts` from closure to commit, without Nix. */
import { expect } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { Root } from '../../src/cache-index/records.ts';
import { verifyNar } from '../../src/nar/nar-reader.ts';
import { decompressZstd } from '../../src/nar/zstd-frames.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { type BaseName, baseNameOf, hashPartOf, type StorePath } from '../../src/nix/store-path.ts';
import type { LocalStore } from '../../src/nix-store/local-store.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import type { PublishEvent } from '../../src/publish/events.ts';
import { asRoots, type PublishPathsResult, publishPaths } from '../../src/publish/publish-paths.ts';
import type { PublishPathsOptions } from '../../src/publish/publish-paths-options.ts';
import type { LocalPaths } from './local-paths.ts';

export interface PublishRun {
  readonly result: PublishPathsResult;
  readonly events: readonly PublishEvent[];
}

/** Publishes the closure of `roots`, which become roots by their names, at `at`. Retention is 30 days. */
export async function publishAt(
  store: ContentStore,
  paths: LocalPaths,
  roots: readonly PathInfo[],
  at: Date,
  options: Partial<PublishPathsOptions> = {},
): Promise<PublishRun> {
  const events: PublishEvent[] = [];
  const result = await publishPaths({
    store,
    reader: options.reader ?? (await IndexReader.open({ store, strict: true, now: () => at })),
    localStore: localStoreOf(paths),
    paths: roots.map(({ path }) => path),
    roots: rootsAt(roots, at),
    upstreams: [],
    onUpstreamFailure: 'push',
    excludePaths: [],
    maxNarBytes: undefined,
    keys: [],
    compression: { method: 'zstd' },
    workers: 2,
    dryRun: false,
    retainSeconds: 30 * 24 * 60 * 60,
    creator: 'test',
    now: () => at,
    ...options,
    onEvent: (event) => {
      events.push(event);
      options.onEvent?.(event);
    },
  });
  return { result, events };
}

/** The same, failing with what stopped it half-way. */
export async function publishWholeAt(...args: Parameters<typeof publishAt>): Promise<PublishRun> {
  const run = await publishAt(...args);
  if (run.result.outcome?.stopped) throw run.result.outcome.stopped.cause;
  return run;
}

const rootsAt = (roots: readonly PathInfo[], at: Date): Root[] =>
  asRoots(
    roots.map(({ path }) => ({ name: path.slice(44), path })),
    { run: `run ${at.toISOString()}`, time: Math.floor(at.getTime() / 1000), source: 'github:owner/repo' },
  );

/** The closure of `roots` among `paths`. */
export function closureOf(paths: LocalPaths, roots: readonly StorePath[]): PathInfo[] {
  const byName = new Map<BaseName, PathInfo>(paths.infos.map((info) => [baseNameOf(info.path), info]));
  const closure = new Map<BaseName, PathInfo>();
  const open: BaseName[] = roots.map(baseNameOf);
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const info = byName.get(name);
    if (!info || closure.has(name)) continue;
    closure.set(name, info);
    open.push(...info.references);
  }
  return [...closure.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Fails unless a new strict reader finds every path of `infos` with the NAR that its info says. Gives that reader. */
export async function expectServed(store: ContentStore, infos: readonly PathInfo[]): Promise<IndexReader> {
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  for (const info of infos) expect(await servedHash(reader, info), info.path).toBe(info.narHash);
  return reader;
}

/** The NAR hash of what the cache really has for `info`; undefined without an entry. */
export async function servedHash(reader: IndexReader, info: PathInfo): Promise<string | undefined> {
  const entry = reader.findEntry(hashPartOf(info.path));
  if (!entry) return undefined;
  return (await verifyNar(decompressZstd(await reader.openNar(entry)))).narHash;
}

const localStoreOf = (paths: LocalPaths): LocalStore => ({
  storeDir: '/nix/store',
  queryClosure: async (roots) => closureOf(paths, roots),
  queryBuildClosure: async () => [],
  queryRealisations: async () => new Map(),
  queryPathInfos: async (wanted) => paths.infos.filter(({ path }) => wanted.includes(path)),
  queryValidPaths: async (wanted) =>
    new Set(paths.infos.map(({ path }) => path).filter((path) => wanted.includes(path))),
  contentPath: (path) => paths.contentPath(path),
});
