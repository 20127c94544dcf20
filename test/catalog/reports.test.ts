import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { type Catalog, readCatalog } from '../../src/catalog/catalog.ts';
import { reportName } from '../../src/catalog/name-report.ts';
import { type PathReport, reasonOf, reportPath } from '../../src/catalog/path-report.ts';
import { EntryGraph } from '../../src/census/entry-graph.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import { baseNameFor, CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { DAY_SECONDS, day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

const catalogOf = async (store: ContentStore): Promise<Catalog> =>
  readCatalog({ store, reader: await IndexReader.open({ store, strict: false }), onWarning: () => {} });

const policyAt = (now: Date) => ({ now: now.getTime() / 1000, retainSeconds: 30 * DAY_SECONDS });

async function reportOn(name: string, store: ContentStore, now = day(60)): Promise<PathReport> {
  const catalog = await catalogOf(store);
  return reportPath(hashPartFor(name), catalog, {
    graph: EntryGraph.of(catalog.reader.entries()),
    policy: policyAt(now),
  });
}

/** lib is needed by old, of day 0, and by app, of day 50; nothing keeps old. */
async function aged(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['lib', { name: 'old', references: ['lib'] }], roots: ['old'] });
  await cache.publish({ at: day(50), paths: [{ name: 'app', references: ['lib'] }], roots: ['app'] });
  return store;
}

describe('info on a path', () => {
  it('says why gc keeps it, through what', async () => {
    expect((await reportOn('lib', await aged())).gc).toEqual({
      verdict: 'kept',
      reason: { kind: 'newest-publish', name: 'app', time: day(50).getTime() / 1000 },
      through: baseNameFor('app'),
    });
  });

  it('says that gc would drop it', async () => {
    expect((await reportOn('old', await aged())).gc).toEqual({ verdict: 'dropped' });
  });

  it('names the pin first', async () => {
    const store = await aged();
    await new CacheBuilder(store).publish({ at: day(51), pins: [{ name: 'v1', path: baseNameFor('old'), time: 1 }] });
    const report = await reportOn('lib', store);
    expect(report.gc).toMatchObject({ verdict: 'kept', reason: { kind: 'pinned', name: 'v1' } });
    expect(report.pins).toEqual([{ name: 'v1', path: baseNameFor('old') }]);
  });

  it('says that gc would stop where it would', async () => {
    const catalog = { ...(await catalogOf(await aged())), unreadable: ['segment x: its content is gone'] };
    expect(reasonOf(hashPartFor('lib'), catalog, policyAt(day(60)))).toEqual({
      verdict: 'unknown',
      why: expect.stringContaining('gc would stop and drop nothing: segment x'),
    });
  });

  it('tells its closure, what needs it, and the roots that reach it', async () => {
    const report = await reportOn('lib', await aged());
    expect(report.closure).toMatchObject({ paths: 1, missing: [] });
    expect(report.dependents).toEqual([baseNameFor('app'), baseNameFor('old')]);
    expect(report.roots.map(({ root, isCurrent }) => [root.name, isCurrent])).toEqual([
      ['app', true],
      ['old', true],
    ]);
    expect(report.asserted).toEqual(day(0));
    expect(report.segment).toMatch(/^seg-/);
    expect(report.narInfoText).toMatch(/^StorePath: \/nix\/store\/.*-lib\n/);
    expect(report.narInfoText).not.toContain('Nixcache');
  });

  it('tells a root that no longer has it from one that has', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['lib', { name: 'app', references: ['lib'] }], roots: ['app'] });
    const newer = {
      ...(await catalogOf(store)).roots[0],
      path: baseNameFor('other'),
      time: day(9).getTime() / 1000,
      run: 'r',
    };
    const catalog = await catalogOf(store);
    const roots = [...catalog.roots, { name: 'app', ...newer }];
    const graph = EntryGraph.of(catalog.reader.entries());
    const report = reportPath(hashPartFor('lib'), { ...catalog, roots }, { graph, policy: policyAt(day(60)) });
    expect(report.roots).toMatchObject([{ root: { path: baseNameFor('app') }, isCurrent: false }]);
  });

  it('checks signatures against the keys that publishers named, of which one is none', async () => {
    const good = generateKey('good-1');
    const store = await aged();
    await new CacheBuilder(store).publish({ at: day(54), publicKeys: ['broken-1:AAAA'] });
    const found = (await catalogOf(store)).reader.findAsserted(hashPartFor('lib'));
    const manifest = found && (await store.fetchManifest(found.tag));
    if (!found || !manifest) throw new Error('lib is gone');
    const { narInfo } = found.entry;
    const valid = signPathInfo(narInfo, parseSecretKey(good.secret));
    const wrong = signPathInfo({ ...narInfo, narSize: 1 }, parseSecretKey(good.secret));
    const unknown = signPathInfo(narInfo, parseSecretKey(generateKey('other-1').secret));
    const segment = encodeSegment({
      entries: [{ ...found.entry, narInfo: { ...narInfo, sigs: [valid, wrong, unknown] } }],
      blobs: decodeImageManifest(manifest.bytes, found.tag).layers.slice(1),
      ...{ storeDir: '/nix/store', creator: 'test', now: day(55), publicKeys: [good.public] },
    });
    await commitSegment(store, segment, {});
    expect((await reportOn('lib', store)).signatures).toEqual([
      { keyName: 'good-1', verdict: 'valid' },
      { keyName: 'good-1', verdict: 'invalid' },
      { keyName: 'other-1', verdict: 'unknown-key' },
    ]);
  });
});

describe('info on a name', () => {
  it('tells what it stands for now and stood for before, and what gc keeps of it', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    for (const at of [0, 40, 50]) {
      await cache.publish({ at: day(at), paths: [`app-${at}`], roots: [`app-${at}`] });
    }
    const catalog = await catalogOf(store);
    const roots = catalog.roots.map((root) => ({ ...root, name: 'app' }));
    const pins = [
      { name: 'app', path: baseNameFor('app-0'), time: 1 },
      { name: 'app', time: 2, removed: true },
    ];
    const graph = EntryGraph.of(catalog.reader.entries());
    const report = reportName(
      'app',
      { ...catalog, roots, pins, currentPins: [] },
      { graph, policy: policyAt(day(60)) },
    );
    expect(report.roots.map(({ root, inCache, keptAs }) => [root.path.slice(33), inCache, keptAs])).toEqual([
      ['app-50', true, 'newest-publish'],
      ['app-40', true, 'published'],
      ['app-0', true, undefined],
    ]);
    expect(report.pinned).toBeUndefined();
    expect(report.pins.map(({ time }) => time)).toEqual([2, 1]);
    expect([...report.closures.keys()]).toEqual([baseNameFor('app-50')]);
  });
});

test('info promises of gc exactly what gc does', async () => {
  const names = ['a', 'b', 'c', 'd'];
  const publish = fc.record({
    at: fc.integer({ min: 0, max: 80 }),
    paths: fc.uniqueArray(fc.nat(3), { minLength: 1, maxLength: 4 }),
    roots: fc.boolean(),
    pin: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(publish, { minLength: 1, maxLength: 5 }), async (publishes) => {
      const store = new MemoryStore();
      const cache = new CacheBuilder(store);
      for (const { at, paths, roots, pin } of publishes) {
        const chosen = paths.map((i) => names[i] ?? '');
        await cache.publish({
          at: day(at),
          paths: chosen.map((name, i) => ({ name, references: chosen.slice(0, i), build: at })),
          roots: roots ? chosen.slice(-1) : [],
          pins: pin ? [{ name: 'p', path: baseNameFor(chosen[0] ?? ''), time: at }] : [],
        });
      }
      const catalog = await catalogOf(store);
      const promised = [...catalog.reader.entries()]
        .map(({ entry }) => entry.narInfo.path)
        .filter((path) => reasonOf(hashPartFor(path.slice(44)), catalog, policyAt(day(85))).verdict === 'dropped');
      const { report } = await gcAt(store, day(85), { dryRun: true });
      expect(promised.sort()).toEqual(report.dropped.paths.map(({ path }) => path).sort());
    }),
    { numRuns: 30 },
  );
});
