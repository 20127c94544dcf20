import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openDirectoryIndex } from '../../../src/cache/disk/directory-index.ts';
import { IndexReader, type IndexReaderOptions } from '../../../src/cache/read/index-reader.ts';
import { findDueEntries } from '../../../src/cache/write/asserted-entries.ts';
import { LOOKUP } from '../../../src/cache-index/media-types.ts';
import { parseTag } from '../../../src/cache-index/tags.ts';
import { nameOf } from '../../../src/nix/store-path.ts';
import { decodeImageManifest } from '../../../src/oci/manifest.ts';
import { CacheBuilder, hashPartFor } from '../../support/cache-builder.ts';
import { DAY_SECONDS, day, gcAt } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { tempDir } from '../../support/temp-dir.ts';

const NAMES = Array.from({ length: 40 }, (_, n) => `path-${n}`);

interface Compacted {
  readonly store: MemoryStore;
  readonly cache: CacheBuilder;
  /** Digests of blobs fetched, in order. */
  readonly fetched: string[];
}

/** 20 paths of day 0 and 20 of day 5, compacted with a look-up table on day 6. */
async function compacted(lookupFromEntries = 1): Promise<Compacted> {
  const fetched: string[] = [];
  const store = new MemoryStore({
    async onCall(method, args) {
      if (method === 'fetchBlob') fetched.push((args[0] as { readonly digest: string }).digest);
    },
  });
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: NAMES.slice(0, 20) });
  await cache.publish({ at: day(5), paths: NAMES.slice(20) });
  await gcAt(store, day(6), { lookupFromEntries });
  fetched.length = 0;
  return { store, cache, fetched };
}

async function openSparse(
  store: MemoryStore,
  options: Partial<IndexReaderOptions> = {},
): Promise<{ readonly reader: IndexReader; readonly warnings: string[] }> {
  const warnings: string[] = [];
  const onWarning = (message: string): unknown => warnings.push(message);
  const reader = await IndexReader.open({ store, strict: true, sparse: true, onWarning, ...options });
  await reader.refresh();
  return { reader, warnings };
}

const entriesBlobs = ({ store }: Compacted): string[] =>
  [...store.tags.keys()].flatMap((tag) => {
    const parsed = parseTag(tag);
    return parsed?.kind === 'segment' ? [parsed.id] : [];
  });

async function lookupDigest({ store }: Compacted): Promise<string> {
  const record = [...store.tags.keys()].find((tag) => parseTag(tag)?.kind === 'record') ?? '';
  const manifest = await store.fetchManifest(record);
  const { layers } = decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), record);
  return layers.find(({ mediaType }) => mediaType === LOOKUP)?.digest ?? 'none';
}

const due = async (store: MemoryStore, reader: IndexReader, names: readonly string[], days: number) =>
  (
    await findDueEntries({ store, reader, hashParts: names.map(hashPartFor), before: day(days).getTime() / 1000 })
  ).entries.map(({ entry, blobs }) => ({ name: nameOf(entry.narInfo.path), entry, blobs }));

describe('a sparse reader', () => {
  it('knows what is there without fetching entries', async () => {
    const held = await compacted();
    const { reader } = await openSparse(held.store);
    expect(NAMES.filter((name) => !reader.has(hashPartFor(name)))).toEqual([]);
    expect(reader.has(hashPartFor('other'))).toBe(false);
    expect(reader.status().entries).toBe(NAMES.length);
    expect(reader.storeDir).toBe('/nix/store');
    expect(held.fetched).toContain(await lookupDigest(held));
    expect(held.fetched.filter((digest) => entriesBlobs(held).includes(digest))).toEqual([]);
  });

  it('fetches segments that were published since', async () => {
    const held = await compacted();
    await held.cache.publish({ at: day(7), paths: ['new'] });
    const { reader } = await openSparse(held.store);
    expect(reader.findEntry(hashPartFor('new'))).toBeDefined();
    expect(reader.has(hashPartFor('path-3'))).toBe(true);
    expect(reader.status().entries).toBe(NAMES.length + 1);
  });

  it('finds the same entries due as one that has them all', async () => {
    const held = await compacted();
    const whole = await IndexReader.open({ store: held.store, strict: true });
    await whole.refresh();
    for (const days of [-1, 0, 0.5, 1, 4, 5, 6]) {
      const { reader } = await openSparse(held.store);
      expect(await due(held.store, reader, NAMES, days)).toEqual(await due(held.store, whole, NAMES, days));
    }
    expect(await due(held.store, whole, NAMES, 4)).toHaveLength(20);
  });

  it('brings nothing that is not due', async () => {
    const held = await compacted();
    const { reader } = await openSparse(held.store);
    await reader.loadLeftOut(NAMES.slice(20).map(hashPartFor), day(5).getTime() / 1000);
    expect(held.fetched.filter((digest) => entriesBlobs(held).includes(digest))).toEqual([]);
    await reader.loadLeftOut(NAMES.slice(20).map(hashPartFor), day(5).getTime() / 1000 + DAY_SECONDS);
    expect(reader.findEntry(hashPartFor('path-30'))).toBeDefined();
    expect(reader.status().entries).toBe(NAMES.length);
    held.fetched.length = 0;
    await reader.loadLeftOut(NAMES.map(hashPartFor), day(99).getTime() / 1000);
    expect(held.fetched).toEqual([]);
  });

  it('does not take an old form at hand for due while a newer one was left out', async () => {
    const held = await compacted();
    // Published with an earlier clock, so that the compacted form stays the newest.
    await held.cache.publish({ at: day(1), paths: [{ name: 'path-30', build: 2 }] });
    const { reader } = await openSparse(held.store);
    expect(await due(held.store, reader, ['path-30'], 3)).toEqual([]);
  });

  it('fetches all entries when the table is gone, and says so', async () => {
    const held = await compacted();
    held.store.blobs.delete((await lookupDigest(held)) as never);
    const { reader, warnings } = await openSparse(held.store);
    expect(warnings).toEqual([expect.stringMatching(/^the look-up table of checkpoint ckpt-.* is ignored: /)]);
    expect(reader.findEntry(hashPartFor('path-3'))).toBeDefined();
    expect(reader.status().entries).toBe(NAMES.length);
  });

  it('fetches all entries of a cache without a table', async () => {
    const held = await compacted(1000);
    expect(await lookupDigest(held)).toBe('none');
    const { reader, warnings } = await openSparse(held.store);
    expect(reader.findEntry(hashPartFor('path-3'))).toBeDefined();
    expect(warnings).toEqual([]);
  });

  it('forgets what a later gc has dropped', async () => {
    const held = await compacted();
    const { reader } = await openSparse(held.store);
    await gcAt(held.store, day(32), { lookupFromEntries: 1 });
    await reader.refresh();
    expect(reader.has(hashPartFor('path-3'))).toBe(false);
    expect(reader.has(hashPartFor('path-30'))).toBe(true);
  });

  it('takes what is on disk, and fetches no table twice', async () => {
    const held = await compacted();
    const directory = join(await tempDir(), 'index');
    const { reader: first } = await openSparse(held.store, { index: await openDirectoryIndex(directory) });
    held.fetched.length = 0;
    const { reader: second } = await openSparse(held.store, { index: await openDirectoryIndex(directory) });
    expect(second.has(hashPartFor('path-3'))).toBe(true);
    expect(second.findEntry(hashPartFor('path-3'))).toBeUndefined();
    expect(held.fetched).toEqual([]);
    await first.loadLeftOut([hashPartFor('path-3')], day(99).getTime() / 1000);
    const { reader: third } = await openSparse(held.store, { index: await openDirectoryIndex(directory) });
    expect(third.findEntry(hashPartFor('path-3'))).toBeDefined();
  });

  it('leaves others the index that they had', async () => {
    const held = await compacted();
    const directory = join(await tempDir(), 'index');
    const whole = await IndexReader.open({
      store: held.store,
      strict: false,
      index: await openDirectoryIndex(directory),
    });
    await whole.refresh();
    await gcAt(held.store, day(32), { lookupFromEntries: 1 });
    await openSparse(held.store, { index: await openDirectoryIndex(directory) });
    const next = await IndexReader.open({
      store: held.store,
      strict: false,
      index: await openDirectoryIndex(directory),
    });
    expect(next.status().entries).toBe(NAMES.length);
  });
});
