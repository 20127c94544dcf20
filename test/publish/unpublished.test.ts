/** A cache that cannot be read or written any more once all is built: what was to be pushed is told, and nothing is thrown. */
import { beforeEach, describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { NixcacheError } from '../../src/errors.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { openReader } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';
import { publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const away = new NixcacheError('ERR_NETWORK', 'the registry is away');

let paths: LocalPaths;
let lib: PathInfo;
let app: PathInfo;
let store: MemoryStore;
let fails: ((method: StoreMethod) => boolean) | undefined;

beforeEach(async () => {
  paths = new LocalPaths(await tempDir());
  lib = await paths.add('lib', { data: 'lib' });
  app = await paths.add('app', { data: 'app' }, [lib]);
  fails = undefined;
  store = new MemoryStore({
    onCall(method) {
      if (fails?.(method)) throw away;
    },
  });
});

describe.each([
  ['is away before the closure is compared', () => true],
  ['takes no more blobs and manifests', (method: StoreMethod) => method.startsWith('push')],
])('a cache that %s', (_when, isAway) => {
  it('gets nothing, and all that was to be pushed is missing', async () => {
    await publishAt(store, paths, [lib], day(0));
    const reader = await openReader(store);
    fails = isAway;
    const { outcome, plan } = (await publishAt(store, paths, [app], day(1), { reader })).result;
    expect(outcome?.stopped).toMatchObject({ isInterrupted: false, cause: away, missing: [app] });
    expect([outcome?.pushed, plan.cached]).toEqual([[], [lib]]);
  });
});

it('a dry run fails, for nothing was to be published', async () => {
  const reader = await IndexReader.open({ store, strict: true });
  fails = () => true;
  await expect(publishAt(store, paths, [app], day(1), { reader, dryRun: true })).rejects.toBe(away);
});

it('an interruption is no failure of the cache', async () => {
  const controller = new AbortController();
  const reader = await IndexReader.open({ store, strict: true });
  fails = () => {
    controller.abort();
    return true;
  };
  const { signal } = controller;
  await expect(publishAt(store, paths, [app], day(1), { reader, signal })).rejects.toThrow();
});

it('a path that the local store lacks is no failure of the cache either', async () => {
  const lacks = new NixcacheError('ERR_NOT_FOUND', 'not valid in the local store');
  const localStore = {
    ...{ storeDir: '/nix/store', queryClosure: () => Promise.reject(lacks), contentPath: () => '/' },
    ...{ queryBuildClosure: async () => [], queryPathInfos: async () => [] },
    ...{ queryValidPaths: async () => new Set<never>(), queryRealisations: async () => new Map() },
  };
  fails = () => true;
  await expect(publishAt(store, paths, [app], day(1), { localStore })).rejects.toBe(lacks);
});
