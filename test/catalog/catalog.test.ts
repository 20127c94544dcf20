import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { type Catalog, readCatalog } from '../../src/catalog/catalog.ts';
import { listEntries } from '../../src/catalog/entry-list.ts';
import { knownNames, lookUp } from '../../src/catalog/look-up.ts';
import { listRoots, pathFilter, summarise } from '../../src/catalog/summary.ts';
import { EntryGraph } from '../../src/census/entry-graph.ts';
import { generateKey } from '../../src/nix/signature.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { baseNameFor, CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

const namesIn = (paths: Iterable<string>): string[] => [...paths].map((path) => path.replace(/^(?:.*\/)?.{33}/, ''));

async function catalogOf(store: ContentStore): Promise<{ catalog: Catalog; warnings: string[] }> {
  const warnings: string[] = [];
  const onWarning = (message: string): number => warnings.push(message);
  const reader = await IndexReader.open({ store, strict: false, onWarning });
  return { catalog: await readCatalog({ store, reader, onWarning }), warnings };
}

const key = generateKey('one');

/** app → lib → libc, and app refers to what only upstream has; published twice, from two sources. */
async function sample(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({
    at: day(0),
    paths: ['libc-1', { name: 'lib-1', references: ['libc-1'] }, { name: 'old-app-1', references: ['lib-1'] }],
    roots: ['old-app-1'],
    publicKeys: [key.public],
  });
  await cache.publish({
    at: day(3),
    paths: [{ name: 'app-1', references: ['lib-1', 'upstream-1', 'app-1'], bytes: 5000 }, 'app-1-doc'],
    roots: ['app-1'],
    pins: [{ name: 'stable', path: baseNameFor('old-app-1'), time: 5 }],
  });
  await cache.publish({ at: day(4), asserted: ['app-1'], roots: ['app-1'] });
  await cache.publish({ at: day(5), asserted: ['app-1'], roots: ['app-1'], source: 'github:fork/repo' });
  await cache.publish({ at: day(9), pins: [{ name: 'stable', path: baseNameFor('old-app-1'), time: 6 }] });
  return store;
}

describe('list', () => {
  it('sums up what is there', async () => {
    const { catalog } = await catalogOf(await sample());
    const summary = summarise(catalog, EntryGraph.of(catalog.reader.entries()));
    expect(summary).toMatchObject({
      total: { paths: 5 },
      segments: 5,
      checkpoints: 0,
      newestPublish: day(5), // a pin is none
      signers: [],
      unsigned: 5,
      publicKeys: [key.public],
      roots: 3,
      pins: 1,
    });
    expect(summary.total.narBytes).toBeGreaterThan(5000);
  });

  it('takes a pin, which lists again what it keeps, for no publish, and a push without roots for one', async () => {
    const store = await sample();
    const cache = new CacheBuilder(store);
    const pins = [{ name: 'kept', path: baseNameFor('app-1'), time: 7 }];
    await cache.publish({ at: day(10), asserted: ['app-1'], pins });
    const newest = async (): Promise<Date | undefined> => {
      const { catalog } = await catalogOf(store);
      return summarise(catalog, EntryGraph.of(catalog.reader.entries())).newestPublish;
    };
    expect(await newest()).toEqual(day(5));
    await cache.publish({ at: day(11), paths: ['more-1'] });
    expect(await newest()).toEqual(day(11));
  });

  it('shows of each root the newest publish, by source', async () => {
    const { catalog } = await catalogOf(await sample());
    const roots = listRoots(catalog, EntryGraph.of(catalog.reader.entries()), () => true);
    expect(roots.map(({ source, name, records, newest }) => [source, name, records, newest.time * 1000])).toEqual([
      ['github:fork/repo', 'app-1', 1, day(5).getTime()],
      ['github:owner/repo', 'app-1', 2, day(4).getTime()],
      ['github:owner/repo', 'old-app-1', 1, day(0).getTime()],
    ]);
    expect(roots[0]?.closure).toMatchObject({ paths: 3, missing: [hashPartFor('upstream-1')] });
  });

  it('lists entries by name, each once', async () => {
    const { catalog } = await catalogOf(await sample());
    const entries = [...listEntries(catalog.reader, () => true)];
    expect(namesIn(entries.map(({ path }) => path))).toEqual(['app-1', 'app-1-doc', 'lib-1', 'libc-1', 'old-app-1']);
    expect(entries[0]?.asserted).toEqual(day(5));
  });

  it.each([
    ['app*', ['app-1', 'app-1-doc']],
    ['*-1', ['app-1', 'lib-1', 'libc-1', 'old-app-1']],
    ['/nix/store/*-lib-1', ['lib-1']],
    ['lib{,c}-?', ['lib-1', 'libc-1']],
    ['stable', []],
  ])('picks entries by the glob %s', async (glob, names) => {
    const { catalog } = await catalogOf(await sample());
    const entries = listEntries(catalog.reader, pathFilter(glob, '/nix/store'));
    expect(namesIn([...entries].map(({ path }) => path))).toEqual(names);
  });

  it('picks roots by their own name too', () => {
    const matches = pathFilter('packages.*.hello', '/nix/store');
    expect(matches(baseNameFor('x'), 'packages.x86_64-linux.hello')).toBe(true);
    expect(matches(baseNameFor('x'), 'packages.x86_64-linux.world')).toBe(false);
  });

  it('goes on without the roots of a segment that is damaged, and says so', async () => {
    const store = await sample();
    const [tag = ''] = [...store.tags.keys()].filter((each) => each.startsWith('seg-')).sort();
    const digest = store.tags.get(tag);
    if (digest) store.manifests.delete(digest);
    const { catalog, warnings } = await catalogOf(store);
    expect(catalog.roots.map(({ name }) => name)).not.toContain('old-app-1');
    expect(catalog.unreadable).toEqual([expect.stringMatching(new RegExp(`${tag}.*run nixcache verify`))]);
    expect(warnings.join()).toContain('roots and pins may be missing');
  });

  it('shows an empty cache as empty', async () => {
    const { catalog } = await catalogOf(new MemoryStore());
    const graph = EntryGraph.of(catalog.reader.entries());
    expect(summarise(catalog, graph)).toMatchObject({ total: { paths: 0 }, newestPublish: undefined });
    expect(listRoots(catalog, graph, () => true)).toEqual([]);
  });
});

describe('looking up', () => {
  const path = (name: string) => ({ kind: 'path', hashPart: hashPartFor(name) });

  it.each([
    ['a store path', `/nix/store/${baseNameFor('lib-1')}`, path('lib-1')],
    ['a file in a store path', `/nix/store/${baseNameFor('lib-1')}/bin/x`, path('lib-1')],
    ['a base name', baseNameFor('lib-1'), path('lib-1')],
    ['a hash', hashPartFor('lib-1'), path('lib-1')],
    ['the beginning of a hash', hashPartFor('lib-1').slice(0, 8), path('lib-1')],
    ['the beginning of a name', 'libc', path('libc-1')],
    ['a pin', 'stable', { kind: 'name', name: 'stable' }],
    ['a root, before a path of that name', 'app-1', { kind: 'name', name: 'app-1' }],
    ['a whole name, before longer ones', 'lib-1', path('lib-1')],
    ['nothing', 'nothing', { kind: 'absent' }],
    ['an empty text', '', { kind: 'absent' }],
    ['a path that is not there', `/nix/store/${baseNameFor('other')}`, { kind: 'absent' }],
    ['a hash under another name', `${hashPartFor('lib-1')}-other`, { kind: 'absent' }],
  ])('finds %s', async (_, text, found) => {
    const { catalog } = await catalogOf(await sample());
    expect(lookUp(text, catalog)).toEqual(found);
  });

  it('tells what may be meant', async () => {
    const { catalog } = await catalogOf(await sample());
    expect(lookUp('lib', catalog)).toEqual({
      kind: 'ambiguous',
      candidates: [baseNameFor('lib-1'), baseNameFor('libc-1')],
    });
    expect(knownNames(catalog)).toEqual(expect.arrayContaining(['stable', 'app-1', 'app-1-doc']));
  });
});

describe('graph', () => {
  it('knows closures and what needs what', async () => {
    const { catalog } = await catalogOf(await sample());
    const graph = EntryGraph.of(catalog.reader.entries());
    expect(graph.dependentsOf(hashPartFor('lib-1')).sort()).toEqual(
      [hashPartFor('app-1'), hashPartFor('old-app-1')].sort(),
    );
    expect(graph.dependentsOf(hashPartFor('app-1'))).toEqual([]); // not even itself
    expect([...graph.needing(hashPartFor('libc-1'))].sort()).toEqual(
      ['libc-1', 'lib-1', 'app-1', 'old-app-1'].map(hashPartFor).sort(),
    );
    expect([...graph.needing(hashPartFor('nowhere'))]).toEqual([]);
    expect(graph.closureOf([hashPartFor('nowhere')])).toMatchObject({ paths: 0, missing: [hashPartFor('nowhere')] });
  });
});

test('what needs a path is what has it in its closure, whatever the references', async () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const edges = fc.uniqueArray(fc.tuple(fc.nat(5), fc.nat(5)), { maxLength: 15, selector: String });
  await fc.assert(
    fc.asyncProperty(edges, async (pairs) => {
      const store = new MemoryStore();
      const paths = names.map((name, i) => ({
        name,
        references: pairs.filter(([from]) => from === i).map(([, to]) => names[to] ?? ''),
      }));
      await new CacheBuilder(store).publish({ at: day(0), paths });
      const { catalog } = await catalogOf(store);
      const graph = EntryGraph.of(catalog.reader.entries());
      for (const target of names) {
        const closed = names.filter((name) => reach(name, paths).has(target)).map(hashPartFor);
        expect([...graph.needing(hashPartFor(target))].sort()).toEqual(closed.sort());
        expect(graph.closureOf([hashPartFor(target)]).paths).toBe(reach(target, paths).size);
      }
    }),
    { numRuns: 40 },
  );
});

function reach(
  name: string,
  paths: readonly { readonly name: string; readonly references: readonly string[] }[],
): Set<string> {
  const seen = new Set<string>();
  const visit = (each: string): void => {
    if (seen.has(each)) return;
    seen.add(each);
    paths.find((path) => path.name === each)?.references.forEach(visit);
  };
  visit(name);
  return seen;
}
