import { xz } from '@napi-rs/lzma';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { decodeLegacyIndex } from '../../../src/cache/read/legacy-index.ts';
import { stopAtProblems, warnOfProblems } from '../../../src/cache/read/problem.ts';
import { fetchRecords } from '../../../src/cache/read/stored-records.ts';
import type { CacheView } from '../../../src/cache/read/view.ts';
import { convertLegacy } from '../../../src/cache/write/convert-legacy.ts';
import { CACHE_INDEX_TAG } from '../../../src/cache-index/tags.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { hashToBase32 } from '../../../src/nix/hash.ts';
import { formatNarInfo, parseNarInfo } from '../../../src/nix/nar-info.ts';
import { findSigner, generateKey, parseSecretKey } from '../../../src/nix/signature.ts';
import { nameOf } from '../../../src/nix/store-path.ts';
import type { ContentStore } from '../../../src/oci/content-store.ts';
import { readAll } from '../../support/bytes.ts';
import { baseNameFor, CacheBuilder, hashPartFor } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { type LegacyCacheOptions, type LegacyPath, writeLegacyCache } from '../../support/legacy-cache.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { narOf } from '../../support/nar.ts';

const key = parseSecretKey(generateKey('old-1').secret);
const nar = (name: string): Buffer => narOf({ contents: `contents of ${name}` });
const path = (name: string, ...references: readonly string[]): LegacyPath => ({
  baseName: baseNameFor(name),
  nar: nar(name),
  references: references.map(baseNameFor),
});
const PATHS = [
  path('libc'),
  path('lib', 'libc'),
  { ...path('app', 'lib', 'app'), deriver: `${baseNameFor('app')}.drv` },
];

async function legacy(options: LegacyCacheOptions = {}): Promise<MemoryStore> {
  const store = new MemoryStore();
  await writeLegacyCache(store, PATHS, { key, roots: [baseNameFor('app')], ...options });
  return store;
}
async function read(store: ContentStore, strict = true, warnings: string[] = []): Promise<IndexReader> {
  const onWarning = (message: string): number => warnings.push(message);
  const reader = await IndexReader.open({ store, strict, legacy: 'read', onWarning, now: () => day(100) });
  await reader.refresh();
  return reader;
}
const pathNames = (reader: IndexReader): string[] =>
  [...reader.entries()].map(({ entry }) => nameOf(entry.narInfo.path)).sort();

describe('a cache of the older layout', () => {
  it('gives narinfos in canonical form', async () => {
    const reader = await read(await legacy());
    const text = reader.findNarInfoText(hashPartFor('libc')) ?? '';
    expect(text).toMatch(/^StorePath: \/nix\/store\/\S+-libc\nURL: nar\/\S+\.nar\.xz\nCompression: xz\n/);
    expect(text).toMatch(/\nNarHash: sha256:[0-9a-z]{52}\n/);
    expect(text).toContain('\nReferences: \n');
    const info = parseNarInfo(text);
    expect(formatNarInfo(info)).toBe(text);
    expect(info.url).toBe(`nar/${hashToBase32(info.fileHash ?? info.narHash)}.nar.xz`);
    expect(findSigner(info, [key.publicKey])?.name).toBe('old-1');
  });

  it('gives NARs by the URL it names', async () => {
    const store = await legacy();
    const reader = await read(store);
    for (const name of ['libc', 'lib', 'app']) {
      const entry = reader.findEntry(hashPartFor(name));
      const file = entry && reader.findNarFile(entry.narInfo.fileHash);
      if (!file) throw new Error(`${name} is not there`);
      expect(xz.decompressSync(await readAll(await reader.openNar(file.entry)))).toEqual(nar(name));
    }
    expect(await reader.fetchPublicKeys()).toEqual([key.publicKey.text]);
    const { roots } = await fetchRecords(store, reader.view as CacheView);
    expect(roots).toMatchObject([{ name: 'app', path: baseNameFor('app'), time: 1_777_111_200 }]);
    expect(reader.status()).toMatchObject({ entries: 3, generation: 1, lastError: undefined });
  });

  it('fetches its index again only when that changed', async () => {
    const store = await legacy();
    const reader = await read(store);
    expect(await reader.refresh()).toMatchObject({ changed: false, bytes: 0 });
    await writeLegacyCache(store, [...PATHS, path('new')]);
    expect(await reader.refresh()).toMatchObject({ changed: true });
    expect(reader.has(hashPartFor('new'))).toBe(true);
  });

  it.each<[string, NonNullable<LegacyCacheOptions['edit']>]>([
    ['a narinfo that Nix refuses', (index) => edit(index, 'lib', { narinfo: 'StorePath: nonsense\n' })],
    ['a narinfo of another path', (index) => edit(index, 'lib', { narinfo: entryOf(index, 'app').narinfo })],
    ['a digest that is none', (index) => edit(index, 'lib', { nar_digest: 'sha512:00' })],
    ['a size that is none', (index) => edit(index, 'lib', { nar_size: -1 })],
  ])('with %s is an error for writers, and lacks an entry for readers', async (_what, change) => {
    const store = await legacy({ edit: change });
    await expect(read(store)).rejects.toMatchObject({
      code: 'ERR_INDEX',
      message: expect.stringContaining(hashPartFor('lib')),
    });
    const warnings: string[] = [];
    const reader = await read(store, false, warnings);
    expect(pathNames(reader)).toEqual(['app', 'libc']);
    expect(warnings).toHaveLength(1);
  });

  it.each<[string, string, NonNullable<LegacyCacheOptions['edit']>]>([
    ['of a later version', 'ERR_INDEX_VERSION', (index) => Object.assign(index, { version: 2 })],
    ['without entries', 'ERR_INDEX', (index) => Object.assign(index, { entries: undefined })],
  ])('%s is an error for everyone', async (_what, code, change) => {
    const store = await legacy({ edit: change });
    await expect(read(store)).rejects.toMatchObject({ code });
    await expect(read(store, false)).rejects.toMatchObject({ code });
  });
});

type Index = Parameters<NonNullable<LegacyCacheOptions['edit']>>[0];
const entryOf = (index: Index, name: string): Index['entries'][string] => {
  const entry = index.entries[hashPartFor(name)];
  if (!entry) throw new Error(`${name} is not in the index`);
  return entry;
};
const edit = (index: Index, name: string, change: Partial<Index['entries'][string]>): void => {
  Object.assign(entryOf(index, name), change);
};

describe('a reader for either layout', () => {
  const open = (store: ContentStore) => IndexReader.open({ store, strict: false, legacy: 'read' });

  it('reads our own, without fetching its index twice', async () => {
    const fetched: unknown[] = [];
    const store = new MemoryStore({
      onCall: (method, [what]) => void (method === 'fetchManifest' && fetched.push(what)),
    });
    await new CacheBuilder(store).publish({ at: day(0), paths: ['x'] });
    const reader = await open(store);
    fetched.length = 0;
    await reader.refresh();
    expect(reader.findNarInfoText(hashPartFor('x'))).toMatch(/^StorePath: /);
    expect(fetched).toEqual([CACHE_INDEX_TAG]);
    expect(reader.view?.legacy).toBeUndefined();
  });

  it('goes on while the cache is converted', async () => {
    const store = await legacy();
    const reader = await open(store);
    await reader.refresh();
    expect(reader.status().entries).toBe(3);
    await convertLegacy({ store, creator: 'test', onEvent: () => undefined, now: () => day(0) });
    expect(reader.has(hashPartFor('app'))).toBe(true);
    await reader.refresh();
    expect(reader.view?.legacy).toBeUndefined();
    expect(pathNames(reader)).toEqual(['app', 'lib', 'libc']);
    expect(reader.status().entries).toBe(3);
  });

  it('shows both when an old publisher wrote over our index', async () => {
    const store = await legacy();
    await convertLegacy({ store, creator: 'test', onEvent: () => undefined, now: () => day(0) });
    await writeLegacyCache(store, [path('lib', 'libc'), path('late')]);
    const reader = await open(store);
    await reader.refresh();
    expect(pathNames(reader)).toEqual(['app', 'late', 'lib', 'libc']);
    expect(reader.findAsserted(hashPartFor('lib'))?.tag).toMatch(/^seg-/); // ours counts
    expect(reader.status().entries).toBe(4);
  });

  it('takes an index of neither for an error', async () => {
    const store = await legacy();
    const index = await store.fetchManifest(CACHE_INDEX_TAG);
    const other = String(index?.bytes).replaceAll('vnd.nix.cache.index', 'vnd.other');
    await store.pushManifest(CACHE_INDEX_TAG, index?.descriptor.mediaType ?? '', Buffer.from(other));
    await expect((await open(store)).refresh()).rejects.toMatchObject({ code: 'ERR_INDEX' });
  });
});

test('an index of any bytes is decoded or refused as such', () => {
  const json = fc.record(
    { version: fc.anything(), entries: fc.anything(), gc_roots: fc.anything() },
    { requiredKeys: [] },
  );
  const bytes = fc.oneof(
    fc.uint8Array().map((array) => Buffer.from(array)),
    json.map((value) => Buffer.from(JSON.stringify(value) ?? '')),
  );
  fc.assert(
    fc.property(bytes, fc.boolean(), (input, strict) => {
      try {
        decodeLegacyIndex(input, 'index', strict ? stopAtProblems : warnOfProblems(undefined));
      } catch (error) {
        expect(error).toBeInstanceOf(NixcacheError);
      }
    }),
  );
});
