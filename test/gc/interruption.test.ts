/** gc cut off, disturbed and raced: readers must see a whole cache at every instant. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { parseTag } from '../../src/cache-index/tags.ts';
import { NixcacheError } from '../../src/errors.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { decodeManifestContent } from '../../src/oci/layout/references.ts';
import {
  assertSegmentsReachable,
  baseNameFor,
  CacheBuilder,
  hashPartFor,
  namesIn,
  openReader,
} from '../support/cache-builder.ts';
import { DAY_SECONDS, day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';

type Hook = (method: StoreMethod, args: readonly unknown[]) => void | Promise<void>;

/** A memory store whose calls can be watched, from some time on. */
function hooked(): { readonly store: MemoryStore; hook: Hook | undefined } {
  const held: { store: MemoryStore; hook: Hook | undefined } = {
    store: new MemoryStore({ onCall: (method, args) => held.hook?.(method, args) }),
    hook: undefined,
  };
  return held;
}

/** What a registry's own garbage collection does: nothing untagged survives. */
function collectGarbage(store: MemoryStore): void {
  const reached = new Set<Digest>();
  const open = [...store.tags.values()];
  for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
    const manifest = store.manifests.get(digest);
    if (!manifest || reached.has(digest)) continue;
    reached.add(digest);
    const content = decodeManifestContent(manifest.bytes, 'manifest');
    for (const blob of content.blobs) reached.add(blob.digest);
    open.push(...content.manifests.map((child) => child.digest));
  }
  for (const digest of store.blobs.keys()) if (!reached.has(digest)) store.blobs.delete(digest);
  for (const digest of store.manifests.keys()) if (!reached.has(digest)) store.manifests.delete(digest);
}

/** Old and new closures, a sparse pack, an earlier checkpoint that is due, and segments that are. */
async function lived(store: MemoryStore): Promise<CacheBuilder> {
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['x', 'y', { name: 'z', references: ['x'] }], roots: ['z'] });
  await cache.publish({ at: day(1), paths: ['p', 'q', 'r', 's'].map((name) => ({ name, bytes: 500 })) });
  await gcAt(store, day(10));
  await cache.publish({ at: day(40), paths: [{ name: 'app', references: ['x', 'p'] }], roots: ['app'] });
  return cache;
}
const KEPT = ['app', 'p', 'x'];

describe('a gc that is cut off', () => {
  async function run(fail: (call: number, at: number) => boolean): Promise<number> {
    for (let at = 1; ; at++) {
      const held = hooked();
      const cache = await lived(held.store);
      let calls = 0;
      held.hook = () => {
        calls++;
        if (fail(calls, at)) throw new NixcacheError('ERR_NETWORK', 'cut off');
      };
      await gcAt(held.store, day(50)).catch((error: unknown) => {
        if (!(error instanceof NixcacheError)) throw error;
      });
      held.hook = undefined;
      if (calls < at) return at;
      collectGarbage(held.store);
      await cache.expectReadable(KEPT);
      await assertSegmentsReachable(held.store);
      await gcAt(held.store, day(51));
      await gcAt(held.store, day(53));
      collectGarbage(held.store);
      expect(await namesIn(held.store)).toEqual(KEPT);
      await cache.expectReadable(KEPT);
      const segments = [...held.store.tags.keys()].filter((tag) => parseTag(tag)?.kind === 'segment');
      expect(segments).toHaveLength(1);
    }
  }

  it('leaves a whole cache wherever it is killed', async () => {
    expect(await run((call, at) => call >= at)).toBeGreaterThan(30);
  });

  it('leaves a whole cache whichever one request fails', async () => {
    expect(await run((call, at) => call === at)).toBeGreaterThan(30);
  });
});

describe('a publish while gc runs', () => {
  const isSegment = (method: StoreMethod, args: readonly unknown[]): boolean =>
    method === 'pushManifest' && parseTag(String(args[0]))?.kind === 'segment';
  const isCheckpoint = (method: StoreMethod, args: readonly unknown[]): boolean =>
    method === 'pushManifest' && parseTag(String(args[0]))?.kind === 'checkpoint';

  /** Runs gc, and `act` once, right before the first call that `when` picks. */
  async function disturb(when: typeof isSegment, act: (cache: CacheBuilder) => Promise<unknown>) {
    const held = hooked();
    const cache = await lived(held.store);
    held.hook = async (method, args) => {
      if (!when(method, args)) return;
      held.hook = undefined;
      await act(cache);
    };
    const run = await gcAt(held.store, day(50));
    expect(held.hook).toBeUndefined();
    collectGarbage(held.store);
    return { store: held.store, cache, run };
  }

  it('makes gc start over when it needs what was to be dropped', async () => {
    const { store, cache, run } = await disturb(isSegment, (building) =>
      building.publish({ at: day(50), paths: [{ name: 'new', references: ['z'] }], roots: ['new'] }),
    );
    expect(run.events).toContainEqual({ type: 'warning', message: expect.stringContaining('starting over') });
    expect(await namesIn(store)).toEqual(['app', 'new', 'p', 'x', 'z']);
    await cache.expectReadable(['app', 'new', 'p', 'x', 'z']);
    await assertSegmentsReachable(store);
  });

  it('makes gc start over when it pins what was to be dropped', async () => {
    const time = day(50).getTime() / 1000;
    const { store } = await disturb(isSegment, (cache) =>
      cache.publish({ at: day(50), pins: [{ name: 'keep', path: baseNameFor('y'), time }] }),
    );
    expect(await namesIn(store)).toEqual(['app', 'p', 'x', 'y']);
  });

  it('costs nothing when it needs nothing of what is dropped', async () => {
    const { store, run } = await disturb(isSegment, (cache) => cache.publish({ at: day(50), paths: ['new'] }));
    expect(run.events.some(({ type }) => type === 'warning')).toBe(false);
    expect(await namesIn(store)).toEqual(['app', 'new', 'p', 'x']);
  });

  it('costs nothing when it brings along what was to be dropped', async () => {
    const paths = ['z', { name: 'new', references: ['z'] }];
    const { store, cache, run } = await disturb(isSegment, (building) => building.publish({ at: day(50), paths }));
    expect(run.events.some(({ type }) => type === 'warning')).toBe(false);
    expect(await namesIn(store)).toEqual(['app', 'new', 'p', 'x', 'z']);
    await cache.expectReadable(['app', 'new', 'p', 'x', 'z']);
  });

  it('loses nothing when it comes right before the checkpoint, having asserted what it relies on', async () => {
    const { store, cache } = await disturb(isCheckpoint, (building) =>
      building.publish({ at: day(50), asserted: ['x', 'z'], paths: [{ name: 'new', references: ['z'] }] }),
    );
    await cache.expectReadable(['app', 'new', 'p', 'x', 'z']);
    await assertSegmentsReachable(store);
    await gcAt(store, day(60));
    await cache.expectReadable(['app', 'new', 'p', 'x', 'z']);
  });

  it('wins over the older form of an entry that gc writes anew', async () => {
    const { store } = await disturb(isSegment, (cache) =>
      cache.publish({ at: day(49.99), paths: [{ name: 'app', build: 2 }] }),
    );
    const reader = await openReader(store);
    expect(reader.findEntry(hashPartFor('app'))?.narInfo.references).toEqual([]);
  });

  it('that deletes what the plan builds on stops gc, which drops nothing', async () => {
    const held = hooked();
    await lived(held.store);
    const victim = [...held.store.tags.keys()].find((tag) => parseTag(tag)?.time === day(40).getTime()) ?? '';
    held.hook = (method, args) => {
      if (isSegment(method, args)) held.store.tags.delete(victim);
    };
    await expect(gcAt(held.store, day(50))).rejects.toMatchObject({ code: 'ERR_INDEX' });
    const checkpoints = [...held.store.tags.keys()].filter((tag) => parseTag(tag)?.kind === 'checkpoint');
    expect(checkpoints).toHaveLength(1);
  });

  it('by a newer nixcache, whose format gc cannot read, stops gc, which drops nothing', async () => {
    const held = hooked();
    const cache = await lived(held.store);
    held.hook = (method, args) => {
      const [index] = [...held.store.tags.values()];
      if (isSegment(method, args) && index) held.store.tags.set('seg2-0-0', index);
    };
    await expect(gcAt(held.store, day(50))).rejects.toMatchObject({
      code: 'ERR_INDEX_VERSION',
      message: expect.stringMatching(/before it dropped anything.*seg2-0-0/),
    });
    held.hook = undefined;
    held.store.tags.delete('seg2-0-0');
    await cache.expectReadable(['app', 'p', 'x', 'y', 'z']);
  });
});

test('two gcs at once make duplicates at most, which the next one removes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.infiniteStream(fc.nat({ max: 3 })), async (delays) => {
      const held = hooked();
      const cache = await lived(held.store);
      held.hook = async () => {
        for (let i = delays.next().value ?? 0; i > 0; i--) await new Promise(setImmediate);
      };
      await Promise.all([gcAt(held.store, day(50)), gcAt(held.store, day(50), { retainSeconds: 100 * DAY_SECONDS })]);
      held.hook = undefined;
      collectGarbage(held.store);
      await cache.expectReadable([...KEPT, 'y', 'z']); // what one of them kept stays
      await assertSegmentsReachable(held.store);
      await gcAt(held.store, day(52));
      await gcAt(held.store, day(54));
      expect(await namesIn(held.store)).toEqual(KEPT);
      const segments = [...held.store.tags.keys()].filter((tag) => parseTag(tag)?.kind === 'segment');
      expect(segments).toHaveLength(1);
      await cache.expectReadable(KEPT);
    }),
    { numRuns: 15 },
  );
});

/** Publishes `names` as publish does: what the cache lacks is pushed, what is old is asserted. References follow from names. */
async function publishClosure(cache: CacheBuilder, names: readonly string[], at: Date): Promise<void> {
  const reader = await openReader(cache.store);
  const asserted = names.filter((name) => {
    const found = reader.findAsserted(hashPartFor(name));
    return found && found.asserted < at.getTime() / 1000 - 15 * DAY_SECONDS;
  });
  const paths = names.filter((name) => !reader.has(hashPartFor(name)));
  const root = names.at(-1) ?? '';
  await cache.publish({
    at,
    reader,
    asserted,
    roots: [root],
    paths: paths.map((name) => ({ name, references: below(name) })),
  });
}

/** `p5` refers to `p4` and `p2`, and so on. */
const below = (name: string): string[] => {
  const i = Number(name.slice(1));
  return [...new Set([i - 1, i >> 1])].filter((j) => j >= 0 && j < i).map((j) => `p${j}`);
};
function closureOf(i: number): string[] {
  const names = new Set<string>();
  const add = (name: string): void => {
    if (names.has(name)) return;
    for (const reference of below(name)) add(reference);
    names.add(name);
  };
  add(`p${i}`);
  return [...names];
}

test('whatever was published within the retention is readable after any order of publishes and gcs', async () => {
  const operation = fc.record({
    days: fc.integer({ min: 1, max: 25 }),
    publish: fc.option(fc.nat({ max: 7 }), { nil: undefined }),
    gc: fc.boolean(),
    together: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 8 }), async (operations) => {
      const store = new MemoryStore();
      const cache = new CacheBuilder(store);
      const published: { readonly names: readonly string[]; readonly at: number }[] = [];
      let now = 0;
      for (const { days, publish, gc, together } of operations) {
        now += days;
        const names = publish === undefined ? undefined : closureOf(publish);
        const acts = [
          async () => names && publishClosure(cache, names, day(now)),
          async () => gc && gcAt(store, day(now)),
        ];
        if (together) await Promise.all(acts.map((act) => act()));
        else for (const act of acts) await act();
        if (names) published.push({ names, at: now });
        collectGarbage(store);
        const needed = published.filter(({ at }, i) => at >= now - 30 || i === published.length - 1);
        await cache.expectReadable(new Set(needed.flatMap((one) => one.names)));
        await assertSegmentsReachable(store);
      }
    }),
    { numRuns: 40 },
  );
});
