/** Conversions, whole, cut off and raced: no entry is ever out of sight of the readers that could see it. */
import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { fetchRecords } from '../../../src/cache/read/stored-records.ts';
import { type ConvertReport, convertLegacy } from '../../../src/cache/write/convert-legacy.ts';
import * as mediaTypes from '../../../src/cache-index/media-types.ts';
import { CACHE_INDEX_TAG } from '../../../src/cache-index/tags.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { generateKey, parseSecretKey } from '../../../src/nix/signature.ts';
import { nameOf } from '../../../src/nix/store-path.ts';
import type { ContentStore } from '../../../src/oci/content-store.ts';
import { decodeImageManifest } from '../../../src/oci/manifest.ts';
import { assertSegmentsReachable, baseNameFor, namesIn, openReader, readView } from '../../support/cache-builder.ts';
import { copyBetween } from '../../support/copy-runs.ts';
import { day, gcAt } from '../../support/gc-runs.ts';
import { type LegacyPath, writeLegacyCache } from '../../support/legacy-cache.ts';
import { MemoryStore, type StoreMethod } from '../../support/memory-store.ts';
import { narOf } from '../../support/nar.ts';
import { verify } from '../../support/verify-runs.ts';

const key = parseSecretKey(generateKey('old-1').secret);
const path = (name: string, ...references: readonly string[]): LegacyPath => ({
  baseName: baseNameFor(name),
  nar: narOf({ contents: `contents of ${name}` }),
  references: references.map(baseNameFor),
});
const PATHS = [path('libc'), path('lib', 'libc'), path('app', 'lib', 'app', 'elsewhere'), path('other')];
const ALL = ['app', 'lib', 'libc', 'other'];

async function legacy(maxLayers = 1000): Promise<{ readonly store: MemoryStore; hook: Hook | undefined }> {
  const held: { store: MemoryStore; hook: Hook | undefined } = {
    store: new MemoryStore({ maxLayers, onCall: (method, args) => held.hook?.(method, args) }),
    hook: undefined,
  };
  await writeLegacyCache(held.store, PATHS, { key, roots: [baseNameFor('app')] });
  return held;
}
type Hook = (method: StoreMethod, args: readonly unknown[]) => void | Promise<void>;

const convert = (store: ContentStore, warnings: string[] = []): Promise<ConvertReport | undefined> =>
  convertLegacy({
    ...{ store, creator: 'test', now: () => day(120) },
    onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
  });

/** What a reader that knows both layouts sees. */
async function visible(store: ContentStore): Promise<string[]> {
  const reader = await IndexReader.open({ store, strict: true, legacy: 'read' });
  await reader.refresh();
  return [...reader.entries()].map(({ entry }) => nameOf(entry.narInfo.path)).sort();
}

describe('a conversion', () => {
  it('keeps every entry, root and key, and uploads no NAR', async () => {
    const held = await legacy();
    const pushed: string[] = [];
    held.hook = (method, [what]) => {
      if (method === 'pushBlob') pushed.push((what as { mediaType: string }).mediaType);
    };
    expect(await convert(held.store)).toEqual({ converted: 4, lost: 0 });
    held.hook = undefined;
    expect(pushed.sort()).toEqual([mediaTypes.ENTRIES, mediaTypes.SEGMENT_CONFIG]);
    expect(await namesIn(held.store)).toEqual(ALL);
    await assertSegmentsReachable(held.store);
    const view = await readView(held.store);
    expect((await fetchRecords(held.store, view)).roots).toMatchObject([{ name: 'app', path: baseNameFor('app') }]);
    expect(view.publicKeys).toEqual([key.publicKey.text]);
    expect(await convert(held.store)).toBeUndefined();
  });

  it('remembers when each entry was added', async () => {
    const { store } = await legacy();
    await convert(store);
    const found = (await openReader(store)).findAsserted(baseNameFor('other').slice(0, 32) as never);
    expect(found?.asserted).toBe(Date.parse('2026-04-25T10:00:00Z') / 1000);
    await gcAt(store, day(150));
    expect(await namesIn(store)).toEqual(['app', 'lib', 'libc']);
  });

  it('writes segments no larger than the registry takes', async () => {
    const { store } = await legacy(3);
    await convert(store);
    const { live } = await readView(store);
    expect(live.segments).toHaveLength(2);
    for (const tag of live.segments) {
      const manifest = await store.fetchManifest(tag);
      expect(decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), tag).layers.length).toBeLessThanOrEqual(3);
    }
  });

  it('leaves out, and says so, what the registry has lost', async () => {
    const { store } = await legacy();
    const blobs = await writeLegacyCache(store, PATHS);
    if (blobs[3]) store.blobs.delete(blobs[3].digest);
    const warnings: string[] = [];
    expect(await convert(store, warnings)).toEqual({ converted: 3, lost: 1 });
    expect(warnings).toEqual([expect.stringMatching(/-other is left out: memory has lost its bytes/)]);
    await assertSegmentsReachable(store);
  });

  it('stops before it writes anything when it cannot read the index', async () => {
    const held = await legacy();
    const tag = held.store.tags.get(CACHE_INDEX_TAG);
    for (const [digest, bytes] of held.store.blobs) {
      if (bytes.includes('gc_roots')) held.store.blobs.delete(digest);
    }
    const calls: StoreMethod[] = [];
    held.hook = (method) => void calls.push(method);
    await expect(convert(held.store)).rejects.toMatchObject({ code: 'ERR_INDEX' });
    expect(calls.filter((method) => method.startsWith('push'))).toEqual([]);
    expect(held.store.tags.get(CACHE_INDEX_TAG)).toBe(tag);
  });

  it('leaves what is of neither layout alone', async () => {
    expect(await convert(new MemoryStore())).toBeUndefined();
  });

  it('is not needed to see what gc would do and whether all is well', async () => {
    const { store } = await legacy();
    const before = [[...store.tags], [...store.blobs.keys()]];
    const looked = async () => {
      const reader = await IndexReader.open({ store, strict: true, legacy: 'read', now: () => day(160) });
      const { kept, dropped, roots } = (await gcAt(store, day(160), { reader, dryRun: true })).report;
      const { findings } = await verify(store, { legacy: 'read' });
      return { kept, dropped, roots, findings: findings.map(({ kind, what }) => [kind, what]) };
    };
    const paper = await looked();
    expect([paper.kept.entries, paper.dropped.entries]).toEqual([3, 1]);
    expect(paper.findings).toEqual([['missing-reference', expect.stringContaining('-elsewhere')]]);
    expect([[...store.tags], [...store.blobs.keys()]]).toEqual(before);
    await convert(store);
    expect(await looked()).toEqual(paper);
  });

  it('is not needed to find that a NAR is gone', async () => {
    const { store } = await legacy();
    const reader = await IndexReader.open({ store, strict: true, legacy: 'read' });
    await reader.refresh();
    const { nar } = reader.findEntry(baseNameFor('lib').slice(0, 32) as never) ?? { nar: [] };
    store.blobs.delete(nar[0]?.digest as never);
    const { findings } = await verify(store, { legacy: 'read' });
    expect(findings).toContainEqual(expect.objectContaining({ kind: 'blob-missing', what: nar[0]?.digest }));
  });
});

describe('a conversion that is disturbed', () => {
  it.each([
    ['wherever it is killed', (call: number, at: number) => call >= at],
    ['whichever one request fails', (call: number, at: number) => call === at],
  ])('hides nothing, and ends when it is run again, %s', async (_what, fail) => {
    for (let at = 1; ; at++) {
      const held = await legacy(3);
      const index = held.store.tags.get(CACHE_INDEX_TAG);
      let calls = 0;
      held.hook = () => {
        if (fail(++calls, at)) throw new NixcacheError('ERR_NETWORK', 'cut off');
      };
      const done = await convert(held.store).catch((error: unknown) => {
        if (!(error instanceof NixcacheError)) throw error;
      });
      held.hook = undefined;
      if (calls < at) break;
      // Old readers see the old index, or ours is whole.
      if (held.store.tags.get(CACHE_INDEX_TAG) !== index) expect(await namesIn(held.store)).toEqual(ALL);
      else expect(done).toBeUndefined();
      expect(await visible(held.store)).toEqual(ALL);
      await convert(held.store);
      expect(await namesIn(held.store)).toEqual(ALL);
      const view = await readView(held.store);
      expect((await fetchRecords(held.store, view)).roots).toHaveLength(1);
      expect(view.live.segments.length).toBeLessThanOrEqual(3);
      expect(at).toBeLessThan(100);
    }
  });

  it('loses nothing when two do it at once', async () => {
    const { store } = await legacy();
    await Promise.all([convert(store), convert(store)]);
    expect(await namesIn(store)).toEqual(ALL);
    expect((await fetchRecords(store, await readView(store))).roots).toHaveLength(1);
    await assertSegmentsReachable(store);
  });

  it('takes over what an old publisher wrote in the meantime', async () => {
    const held = await legacy();
    held.hook = async (method, [tag]) => {
      if (method !== 'pushManifest' || tag === CACHE_INDEX_TAG) return;
      held.hook = undefined;
      await writeLegacyCache(held.store, [...PATHS, path('late')]);
    };
    await convert(held.store);
    expect(await namesIn(held.store)).toEqual([...ALL, 'late'].sort());
  });
});

describe('a copy', () => {
  it('out of a cache of the older layout has all of it', async () => {
    const { store } = await legacy();
    const copy = new MemoryStore();
    const { report } = await copyBetween(store, copy);
    expect(report).toMatchObject({ copied: { paths: 4 }, segments: { whole: 0, written: 1 }, absent: 1 });
    expect(await namesIn(copy)).toEqual(ALL);
    await assertSegmentsReachable(copy);
    expect((await fetchRecords(copy, await readView(copy))).roots).toHaveLength(1);
    expect((await readView(copy)).publicKeys).toEqual([key.publicKey.text]);
    expect((await copyBetween(store, copy)).report.segments).toEqual({ whole: 0, written: 0 });
  });

  it('of its roots alone leaves the rest', async () => {
    const { store } = await legacy();
    const copy = new MemoryStore();
    await copyBetween(store, copy, { selection: { kind: 'some', names: ['*'], paths: [] } });
    expect(await namesIn(copy)).toEqual(['app', 'lib', 'libc']);
  });
});
