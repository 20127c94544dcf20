/** Copies that are cut off anywhere: the destination must be whole at every instant, and the next run must end the work. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { fetchRecords } from '../../src/cache/read/stored-records.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import { NixcacheError } from '../../src/errors.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { assertSegmentsReachable, CacheBuilder, namesIn, type PathSpec, readView } from '../support/cache-builder.ts';
import { assertClosed, copyBetween } from '../support/copy-runs.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';

type Hook = (method: StoreMethod, args: readonly unknown[]) => void;

/** A memory store whose calls can be watched, from some time on. */
function hooked(options: { readonly maxLayers?: number } = {}): {
  readonly store: MemoryStore;
  hook: Hook | undefined;
} {
  const held: { store: MemoryStore; hook: Hook | undefined } = {
    store: new MemoryStore({ ...options, onCall: (method, args) => held.hook?.(method, args) }),
    hook: undefined,
  };
  return held;
}

/** Segments as published, some that refer to each other, and a checkpoint. */
async function lived(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['x', { name: 'z', references: ['x'] }], roots: ['z'] });
  await gcAt(store, day(1));
  await gcAt(store, day(3));
  await cache.publish({
    at: day(4),
    paths: [{ name: 'app', references: ['d', 'z'] }, 'b'],
    roots: ['app'],
    packed: false,
  });
  await cache.publish({
    at: day(5),
    paths: [
      { name: 'c', references: ['b'] },
      { name: 'd', references: ['c', 'elsewhere'] },
    ],
  });
  await cache.publish({ at: day(6), paths: [{ name: 'top', references: ['app'] }], roots: ['top'] });
  return store;
}
const ALL = ['app', 'b', 'c', 'd', 'top', 'x', 'z'];

const isWrite = (method: StoreMethod): boolean => method === 'pushBlob' || method === 'pushManifest';

async function cutOff(
  source: MemoryStore,
  fail: (call: number, at: number) => boolean,
  maxLayers = 1000,
): Promise<number> {
  for (let at = 1; ; at++) {
    const held = hooked({ maxLayers });
    let calls = 0;
    held.hook = () => {
      calls++;
      if (fail(calls, at)) throw new NixcacheError('ERR_NETWORK', 'cut off');
    };
    await copyBetween(source, held.store).catch((error: unknown) => {
      if (!(error instanceof NixcacheError)) throw error;
    });
    held.hook = undefined;
    if (calls < at) return at;
    await assertClosed(held.store, source);
    await assertSegmentsReachable(held.store);
    const before = new Set(held.store.blobs.keys());
    const again = await copyBetween(source, held.store);
    const warnings = again.events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
    expect(warnings.filter((message) => !message.includes('no signature'))).toEqual([]);
    expect(await namesIn(held.store)).toEqual(ALL);
    const sent = again.events.flatMap((event) => (event.type === 'uploaded' && !event.existed ? [event.bytes] : []));
    const added = [...held.store.blobs].filter(([digest]) => !before.has(digest)).map(([, bytes]) => bytes.length);
    // What the first run stored was not sent again; entries blobs and configs of new segments are not counted.
    expect(sent.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(added.reduce((a, b) => a + b, 0));
    const view = await readView(held.store);
    expect((await fetchRecords(held.store, view)).roots.map(({ name }) => name).sort()).toEqual(['app', 'top', 'z']);
    expect(view.descriptors.size).toBe(view.live.segments.length);
    const done = [...held.store.tags.keys()].sort();
    await copyBetween(source, held.store);
    expect([...held.store.tags.keys()].sort()).toEqual(done);
  }
}

describe('a copy that is cut off', () => {
  it('leaves a whole cache wherever it is killed', async () => {
    expect(await cutOff(await lived(), (call, at) => call >= at)).toBeGreaterThan(12);
  });

  it('leaves a whole cache whichever one request fails', async () => {
    expect(await cutOff(await lived(), (call, at) => call === at)).toBeGreaterThan(12);
  });

  it('leaves a whole cache where segments have to be split', async () => {
    expect(await cutOff(await lived(), (call, at) => call >= at, 3)).toBeGreaterThan(12);
  });

  it('sends again, once, what the destination lost meanwhile', async () => {
    const source = await lived();
    const held = hooked();
    let lost: unknown;
    held.hook = (method, args) => {
      if (lost !== undefined || method !== 'pushManifest' || parseTag(String(args[0]))?.kind !== 'segment') return;
      [lost] = held.store.blobs.keys();
      held.store.blobs.clear(); // as a registry's garbage collection takes what no manifest names yet
    };
    await copyBetween(source, held.store);
    held.hook = undefined;
    expect(lost).toBeDefined();
    expect(await namesIn(held.store)).toEqual(ALL);
    await assertSegmentsReachable(held.store);
  });

  it('asks for what is there before it sends it', async () => {
    const source = await lived();
    const copy = hooked();
    const sent: string[] = [];
    copy.hook = (method, args) => {
      if (method === 'pushBlob') sent.push((args[0] as Descriptor).digest);
    };
    await copyBetween(source, copy.store);
    expect(new Set(sent).size).toBe(sent.length);
  });
});

/** Paths p0 … pn, each referring to some before it, spread over segments in any way. */
const cacheSpec = fc.array(
  fc.record({
    references: fc.array(fc.nat(), { maxLength: 3 }),
    segment: fc.nat(3),
    packed: fc.boolean(),
    isAtDestination: fc.boolean(),
  }),
  { minLength: 1, maxLength: 10 },
);

test('whatever the caches and wherever it is killed, the destination is closed and ends up with both', async () => {
  const key = parseSecretKey(generateKey('copy-1').secret);
  await fc.assert(
    fc.asyncProperty(
      cacheSpec,
      fc.nat(60),
      fc.boolean(),
      fc.integer({ min: 3, max: 12 }),
      async (spec, at, sign, width) => {
        const paths: readonly PathSpec[] = spec.map(({ references }, i) => ({
          name: `p${i}`,
          references: i === 0 ? [] : references.map((reference) => `p${reference % i}`),
        }));
        const source = new MemoryStore();
        const cache = new CacheBuilder(source);
        for (const segment of [0, 1, 2, 3]) {
          const own = paths.filter((_path, i) => spec[i]?.segment === segment);
          if (own.length > 0)
            await cache.publish({ at: day(segment), paths: own, packed: spec[segment]?.packed ?? true });
        }
        const held = hooked({ maxLayers: width });
        await new CacheBuilder(held.store).publish({ at: day(9), paths: ['mine', ...atDestination(paths, spec)] });
        let calls = 0;
        held.hook = (method) => {
          if (isWrite(method) && ++calls >= at) throw new NixcacheError('ERR_NETWORK', 'cut off');
        };
        const options = sign ? { keys: [key] } : {};
        await copyBetween(source, held.store, options).catch((error: unknown) => {
          if (!(error instanceof NixcacheError)) throw error;
        });
        held.hook = undefined;
        await assertClosed(held.store, source);
        await copyBetween(source, held.store, options);
        await assertClosed(held.store, source);
        await assertSegmentsReachable(held.store);
        expect(await namesIn(held.store)).toEqual([...paths.map(({ name }) => name), 'mine'].sort());
      },
    ),
    { numRuns: 60 },
  );
});

/** A closed part of `paths`: a prefix, for references lead to the front. */
function atDestination(
  paths: readonly PathSpec[],
  spec: readonly { readonly isAtDestination: boolean }[],
): readonly PathSpec[] {
  const end = spec.findIndex(({ isAtDestination }) => !isAtDestination);
  return paths.slice(0, Math.max(end, 0));
}
