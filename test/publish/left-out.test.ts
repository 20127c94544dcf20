/** What a publish is told to leave out: recorded, no damage, and brought by who leaves it out no more. */
import { beforeEach, describe, expect, it } from 'vitest';
import { EntryGraph } from '../../src/census/entry-graph.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { baseNameOf, hashPartOf } from '../../src/nix/store-path.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { withWholeClosure } from '../../src/publish/whole-closures.ts';
import { openReader } from '../support/cache-builder.ts';
import { copyBetween } from '../support/copy-runs.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { kindsOf, REPAIR, verify } from '../support/verify-runs.ts';

let paths: LocalPaths;
let lib: PathInfo;
let tool: PathInfo;
let app: PathInfo;
let store: ContentStore;

/** `app` needs `tool`, which needs `lib`, as `app` does. */
beforeEach(async () => {
  paths = new LocalPaths(await tempDir());
  lib = await paths.add('lib', { data: 'x'.repeat(5000) });
  tool = await paths.add('tool', { data: 'tool' }, [lib]);
  app = await paths.add('app', { data: 'app' }, [lib, tool]);
  store = new MemoryStore();
});

const WITHOUT_LIB = { excludePaths: [/-lib$/] };

const leftOutIn = async (of: ContentStore, info: PathInfo): Promise<readonly string[]> =>
  (await openReader(of)).findEntry(hashPartOf(info.path))?.leftOut ?? [];
const findingsOf = async (of: ContentStore): Promise<string[]> => kindsOf((await verify(of)).findings);
const publish = (at: number, options: Parameters<typeof publishAt>[4] = {}) =>
  publishAt(store, paths, [app], day(at), options);

describe.each([
  ['by a pattern', WITHOUT_LIB],
  ['by its size', { maxNarBytes: 4000 }],
])('what is left out %s', (_how, without) => {
  it('is no damage, and said once', async () => {
    await publish(0, without);
    expect(await findingsOf(store)).toEqual(['left-out-on-purpose']);
    const { findings } = await verify(store);
    expect(findings.filter(({ severity }) => severity === 'damage')).toEqual([]);
    expect(findings.find(({ kind }) => kind === 'left-out-on-purpose')?.what).toBe(lib.path);
  });
});

describe('the record', () => {
  it('stays through gc, copy, repair and another publish that leaves out the same', async () => {
    await publish(0, WITHOUT_LIB);
    await publish(20, WITHOUT_LIB);
    const { events } = await gcAt(store, day(22));
    expect(events.map(({ type }) => type)).toContain('segment-written');
    expect(await leftOutIn(store, app)).toEqual([baseNameOf(lib.path)]);
    const other = new MemoryStore();
    await copyBetween(store, other);
    expect(await leftOutIn(other, tool)).toEqual([baseNameOf(lib.path)]);
    expect(await findingsOf(other)).toEqual(['left-out-on-purpose']);
    const { repair } = await verify(other, { repair: { ...REPAIR, dropIncomplete: true } });
    expect(repair).toMatchObject({ pushed: [], dropped: [] });
  });

  it('counts in a closure', async () => {
    await publish(0, WITHOUT_LIB);
    const graph = EntryGraph.of((await openReader(store)).entries());
    expect(graph.closureOf([hashPartOf(app.path)])).toMatchObject({
      ...{ paths: 2, missing: [hashPartOf(lib.path)], leftOut: 1 },
    });
  });
});

describe('a publish that leaves nothing out', () => {
  it('brings it, and then nothing says that it lacks', async () => {
    await publish(0, WITHOUT_LIB);
    const { result } = await publish(1);
    expect(result.outcome?.pushed.map(({ path }) => path)).toEqual([lib.path]);
    expect(await findingsOf(store)).toEqual([]);
    expect([...(await leftOutIn(store, app)), ...(await leftOutIn(store, tool))]).toEqual([]);
    expect((await publish(2)).result.asserted).toBe(0);
  });

  it('takes no output for whole that lacks it, though upstreams may have what else is not there', async () => {
    await publish(0, WITHOUT_LIB);
    const reader = await openReader(store);
    const target = { drvPath: app.path, outputs: { out: app.path } };
    const isWhole = (excludePaths: readonly RegExp[]): boolean =>
      withWholeClosure([target], { reader, asksUpstreams: true, excludePaths, maxNarBytes: undefined, keys: [] }).size >
      0;
    expect([isWhole([]), isWhole([/-lib$/])]).toEqual([false, true]);
  });
});
