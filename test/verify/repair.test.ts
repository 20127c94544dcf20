import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { IndexReader } from '../../src/cache/read/index-reader.ts';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { infosInOrder } from '../../src/cache/write/references-first.ts';
import * as mediaTypes from '../../src/cache-index/media-types.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { NixcacheError } from '../../src/errors.ts';
import { findSigner, generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { hashPartOf, nameOf } from '../../src/nix/store-path.ts';
import { bytesContent } from '../../src/oci/bytes-content.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { describe as describeBlob } from '../../src/oci/descriptor.ts';
import { digestFromHex } from '../../src/oci/digest.ts';
import { pushPaths } from '../../src/publish/push-paths.ts';
import type { LocalSource } from '../../src/verify/local-source.ts';
import { hasDamage } from '../../src/verify/report.ts';
import { baseNameFor, CacheBuilder, namesIn, openReader } from '../support/cache-builder.ts';
import { DAY_SECONDS, day, gcAt } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';
import { flipped, memoryVandal, segmentAt, tagsOf, truncated, vandals } from '../support/vandal.ts';
import { kindsOf, REPAIR, verify } from '../support/verify-runs.ts';

/** After repairs, which go by the real clock. */
const LATER = new Date(Date.now() + 2 * DAY_SECONDS * 1000);

const key = parseSecretKey(generateKey('test-1').secret);

/** Pushes paths as the command line does, without a Nix. */
function localOf(paths: LocalPaths, store: ContentStore, keys = [key]): LocalSource {
  return {
    signs: keys.length > 0,
    queryValid: async (wanted) => paths.infos.filter(({ path }) => wanted.includes(path)),
    queryClosure: async () => paths.infos,
    push: async ({ infos, unlike, signal }) => {
      const outcome = await pushPaths({
        ...{ store, keys, signal, storeDir: '/nix/store', creator: 'test', asserted: [], roots: [], workers: 1 },
        push: infosInOrder(infos),
        compression: { method: 'zstd', checksum: unlike === 'zstd' },
        contentPath: ({ path }) => paths.contentPath(path),
        onEvent: () => undefined,
        now: () => new Date(),
      });
      return outcome.failed;
    },
  };
}

/** A signed cache of a library, an application and a large path, as a publish leaves it. */
async function published(store: ContentStore): Promise<LocalPaths> {
  const paths = new LocalPaths(await tempDir());
  const lib = await paths.add('lib', { f: 'lib' });
  const large = await paths.add('large', { f: randomBytes(200_000) }, [lib]);
  await paths.add('app', { f: 'app' }, [large, lib]);
  await localOf(paths, store).push({ infos: paths.infos });
  return paths;
}

const digestAt = async (store: ContentStore, mediaType: string) => {
  const [tag = ''] = await tagsOf(store, 'segment');
  const layer = (await segmentAt(store, tag)).manifest.layers.find((each) => each.mediaType === mediaType);
  if (!layer) throw new Error(`there is no ${mediaType}`);
  return layer.digest;
};

/** Fails unless a strict reader, as writers use it, finds `names`, and everything is as it should be. */
async function expectWhole(store: ContentStore, names: readonly string[]): Promise<IndexReader> {
  const { findings } = await verify(store, { contents: true });
  expect(kindsOf(findings)).toEqual([]);
  expect(await namesIn(store)).toEqual([...names].sort());
  return openReader(store);
}

describe.each(vandals)('repair of %s', (_, open) => {
  it.each([
    ['a NAR that is gone', mediaTypes.NAR, 'remove'],
    ['a pack that is gone', mediaTypes.PACK, 'remove'],
    ['a NAR that was cut short', mediaTypes.NAR, 'truncate'],
    ['a NAR with another byte', mediaTypes.NAR, 'flip'],
    ['a pack with another byte', mediaTypes.PACK, 'flip'],
  ] as const)('pushes from the local store: %s', async (_name, mediaType, how) => {
    const { store, remove, alter } = await open();
    const paths = await published(store);
    const digest = await digestAt(store, mediaType);
    if (how === 'remove') await remove(digest);
    else await alter(digest, how === 'flip' ? flipped : truncated);
    const local = localOf(paths, store);
    const report = await verify(store, { contents: true, repair: { ...REPAIR, local } });
    expect(report.repair).toMatchObject({ dropped: [], failed: [], blocked: undefined });
    expect(hasDamage(report)).toBe(false);
    expect((report.repair?.pushed.length ?? 0) + (report.repair?.restored.length ?? 0)).toBeGreaterThan(0);
    const reader = await expectWhole(store, ['app', 'large', 'lib']);
    for (const { entry } of reader.entries()) expect(findSigner(entry.narInfo, [key.publicKey])).toBeDefined();
  });

  it('keeps the signatures of what it pushes without a key', async () => {
    const { store, remove } = await open();
    const paths = await published(store);
    await remove(await digestAt(store, mediaTypes.NAR));
    const report = await verify(store, { repair: { ...REPAIR, local: localOf(paths, store, []) } });
    expect(hasDamage(report)).toBe(false);
    await expectWhole(store, ['app', 'large', 'lib']);
  });

  it('drops what nothing heals with all that refers to it, and nothing else', async () => {
    const { store, remove } = await open();
    await published(store);
    await remove(await digestAt(store, mediaTypes.NAR));
    const report = await verify(store, { repair: REPAIR });
    expect(report.repair?.dropped.map(({ path }) => nameOf(path)).sort()).toEqual(['app', 'large']);
    expect(report.repair?.remaining).toEqual([]);
    await expectWhole(store, ['lib']);
    const again = await verify(store, { repair: REPAIR });
    expect(again.repair).toMatchObject({ dropped: [], checkpoint: undefined });
  });

  it('says all that in a dry run, and changes nothing', async () => {
    const { store, remove } = await open();
    const paths = await published(store);
    await remove(await digestAt(store, mediaTypes.NAR));
    const before = (await store.listTags()).sort();
    const plain = await verify(store, { repair: { ...REPAIR, dryRun: true } });
    expect(plain.repair?.plan.drop.map(({ path }) => nameOf(path)).sort()).toEqual(['app', 'large']);
    const local = localOf(paths, store);
    const helped = await verify(store, { repair: { ...REPAIR, dryRun: true, local } });
    expect(helped.repair?.plan).toMatchObject({ drop: [], push: [expect.stringMatching(/-large$/)] });
    expect(hasDamage(helped)).toBe(true);
    expect((await store.listTags()).sort()).toEqual(before);
  });

  it('saves from a damaged pack what is whole in it', async () => {
    const { store, alter } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'b', { name: 'c', references: ['a'] }], roots: ['c'] });
    await alter(await digestAt(store, mediaTypes.PACK), (bytes) =>
      Buffer.concat([flipped(bytes.subarray(0, 100)), bytes.subarray(100)]),
    );
    const report = await verify(store, { contents: true, repair: REPAIR });
    expect(hasDamage(report)).toBe(false);
    expect(report.repair?.restored.length).toBe(2);
    const names = await namesIn(store);
    await cache.expectReadable(names);
    expect(names.length).toBe(3 - (report.repair?.dropped.length ?? 0));
    await expectWhole(store, names);
  });

  it('replaces a damaged pack by one of other bytes, however often it is damaged', async () => {
    const { store, alter } = await open();
    const paths = new LocalPaths(await tempDir());
    await paths.add('only', { f: 'only' });
    await localOf(paths, store).push({ infos: paths.infos });
    for (let time = 0; time < 2; time++) {
      const segment = (await openReader(store)).segments()[0]?.tag ?? '';
      const pack = (await segmentAt(store, segment)).manifest.layers.find((each) => each.mediaType === mediaTypes.PACK);
      if (!pack) throw new Error('no pack');
      // In its listing, which is made again exactly as it was.
      await alter(pack.digest, (bytes) => Buffer.concat([bytes.subarray(0, -1), flipped(bytes.subarray(-1))]));
      const report = await verify(store, { contents: true, repair: REPAIR });
      expect(report.repair).toMatchObject({ dropped: [], restored: [expect.stringMatching(/-only$/)] });
      const [entry] = (await openReader(store)).entries();
      const { narSize: narBytes, fileSize: fileBytes } = entry?.entry.narInfo ?? {};
      expect(report.checked, 'once, though it looked before and after').toMatchObject({ nars: 1, narBytes, fileBytes });
      await expectWhole(store, ['only']);
    }
  });

  it('lets go of a listing that is not of the NAR, and of a blob that is lost and nobody needs', async () => {
    const { store, remove } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', { name: 'b', bytes: 5000 }] });
    const [tag = ''] = await tagsOf(store, 'segment');
    const { layers } = (await segmentAt(store, tag)).manifest;
    const [one, two] = [...(await openReader(store)).entries()].map(({ entry }) => entry);
    if (!one || !two) throw new Error('no entries');
    const spare = describeBlob(mediaTypes.NAR, Buffer.from('spare'));
    await store.pushBlob(spare, bytesContent(Buffer.from('spare')));
    const entries = [{ ...one, listing: two.listing }, two];
    const blobs = [...layers.slice(1), spare];
    const segment = encodeSegment({ entries, blobs, storeDir: '/nix/store', creator: 'test', now: day(1) });
    await commitSegment(store, segment, {});
    await remove(spare.digest);
    const report = await verify(store, { contents: true, repair: REPAIR });
    expect(kindsOf(report.findings)).toEqual(['blob-missing', 'cache-index-stale', 'listing-damaged']);
    expect(report.repair).toMatchObject({ dropped: [], restored: [], pushed: [] });
    await expectWhole(store, ['a', 'b']);
  });

  it('keeps roots and the time of what it writes anew', async () => {
    const { store, alter } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'b'], roots: ['a', 'b'], packed: false });
    const { findings } = await verify(store);
    expect(kindsOf(findings)).toEqual([]);
    const [tag = ''] = await tagsOf(store, 'segment');
    const nars = (await segmentAt(store, tag)).manifest.layers.filter((each) => each.mediaType === mediaTypes.NAR);
    const a = (await openReader(store)).findEntry(hashPartOf(baseNameFor('a')));
    const other = nars.find(({ digest }) => digest !== a?.nar[0]?.digest);
    if (!other) throw new Error('no NAR');
    await alter(other.digest, truncated);
    const report = await verify(store, { repair: REPAIR });
    expect(report.repair?.dropped.map(({ path }) => nameOf(path))).toEqual(['b']);
    const reader = await expectWhole(store, ['a']);
    expect([...reader.entries()].map(({ asserted }) => asserted)).toEqual([day(0).getTime() / 1000]);
    const [checkpoint] = reader.view?.checkpoints.values() ?? [];
    expect(checkpoint?.roots.map(({ name }) => name)).toEqual(['a']);
    await gcAt(store, LATER, { graceSeconds: 0 });
    expect(await namesIn(store)).toEqual(['a']);
  });

  it.each(['manifest', 'config', 'entries'] as const)('lives on without a segment whose %s is gone', async (what) => {
    const { store, remove } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['lib'] });
    await cache.publish({ at: day(1), paths: [{ name: 'app', references: ['lib'] }, 'free'] });
    const [tag = ''] = await tagsOf(store, 'segment');
    const { manifest, descriptor } = await segmentAt(store, tag);
    const digests = {
      manifest: descriptor.digest,
      config: manifest.config.digest,
      entries: digestFromHex(tag.slice(-64)),
    };
    await remove(digests[what]);
    const report = await verify(store, { repair: REPAIR });
    if (what === 'entries') {
      // Nobody knows what was in it; what referred to it is told of, and left to the user.
      expect(kindsOf(report.repair?.remaining ?? [])).toEqual(['missing-reference']);
      await verify(store, { repair: { ...REPAIR, dropIncomplete: true } });
      await expectWhole(store, ['free']);
    } else {
      expect(hasDamage(report)).toBe(false);
      await expectWhole(store, ['app', 'free', 'lib']);
      await cache.expectReadable(['app', 'free', 'lib']);
    }
    await gcAt(store, LATER, { graceSeconds: 0, retainSeconds: 10 * 365 * DAY_SECONDS });
  });

  it('frees writers of a checkpoint of which nothing is known, and lets gc go on', async () => {
    const { store, remove } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a'], roots: ['a'] });
    await cache.publish({ at: day(1), paths: ['b'], roots: ['b'] });
    await gcAt(store, day(2));
    const [tag = ''] = await tagsOf(store, 'checkpoint');
    await remove(digestFromHex(tag.slice(-64)));
    await expect(openReader(store)).rejects.toMatchObject({ code: 'ERR_INDEX' });
    const report = await verify(store, { repair: REPAIR, now: () => day(3) });
    expect(kindsOf(report.repair?.remaining ?? [])).toEqual([]);
    await expectWhole(store, ['a', 'b']);
    await gcAt(store, day(4));
  });

  it('writes cache-index anew when it is gone, stale or unreadable', async () => {
    const { store, alter } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a'], publicKeys: [key.publicKey.text] });
    await cache.publish({ at: day(1), paths: ['b'], index: false });
    const stale = await verify(store, { repair: REPAIR });
    expect(stale.repair?.remaining.filter(({ kind }) => kind.startsWith('cache-index'))).toEqual([]);
    const index = await store.resolve('cache-index');
    if (!index) throw new Error('no cache-index');
    await alter(index.digest, () => Buffer.from('nonsense'));
    const damaged = await verify(store, { repair: REPAIR });
    expect(kindsOf(damaged.findings)).toContain('cache-index-unreadable');
    const { view } = await openReader(store);
    expect(view?.publicKeys).toEqual([key.publicKey.text]);
    expect(view?.descriptors.size).toBe(2);
  });

  it('pushes a reference that is missing, with all that it needs', async () => {
    const { store } = await open();
    const paths = new LocalPaths(await tempDir());
    const base = await paths.add('base', { f: 'base' });
    const lib = await paths.add('lib', { f: 'lib' }, [base]);
    const app = await paths.add('app', { f: 'app' }, [lib]);
    await localOf(paths, store).push({ infos: [app] });
    const report = await verify(store, { repair: { ...REPAIR, local: localOf(paths, store) } });
    expect(kindsOf(report.findings)).toContain('missing-reference');
    expect(hasDamage(report)).toBe(false);
    await expectWhole(store, ['app', 'base', 'lib']);
  });

  it('never drops what only lacks a reference, unless asked to', async () => {
    const { store } = await open();
    await new CacheBuilder(store).publish({
      at: day(0),
      paths: [{ name: 'app', references: ['nowhere'] }, { name: 'top', references: ['app'] }, 'free'],
    });
    const report = await verify(store, { repair: REPAIR });
    expect(kindsOf(report.repair?.remaining ?? [])).toEqual(['missing-reference']);
    expect(await namesIn(store)).toEqual(['app', 'free', 'top']);
    await verify(store, { repair: { ...REPAIR, dropIncomplete: true } });
    await expectWhole(store, ['free']);
  });
});

it('changes nothing while the registry gives an error for a part of the cache', async () => {
  const { store, remove } = memoryVandal();
  await published(store);
  await new CacheBuilder(store).publish({ at: day(0), paths: ['more'] });
  await remove(await digestAt(store, mediaTypes.PACK));
  const [, failing = ''] = await tagsOf(store, 'segment');
  const flaky = new MemoryStore({
    onCall: (method, [reference]) => {
      if (method === 'fetchManifest' && reference === failing) {
        throw new NixcacheError('ERR_REGISTRY', '500 unknown error');
      }
    },
  });
  for (const part of ['blobs', 'manifests', 'tags'] as const) {
    for (const [name, value] of (store as MemoryStore)[part]) flaky[part].set(name as never, value as never);
  }
  const before = (await flaky.listTags()).sort();
  const report = await verify(flaky, { repair: REPAIR });
  expect(kindsOf(report.findings)).toContain('unanswered');
  expect(report.repair).toMatchObject({ dropped: [], blocked: expect.stringContaining(failing) });
  expect(hasDamage(report)).toBe(true);
  expect((await flaky.listTags()).sort()).toEqual(before);
});

it('starts over when something is published meanwhile, and drops nothing that it needs', async () => {
  const vandal = memoryVandal();
  const cache = new CacheBuilder(vandal.store);
  await cache.publish({ at: day(0), paths: ['lib'] });
  await vandal.remove(await digestAt(vandal.store, mediaTypes.PACK));
  let published = 0;
  let listed = 0;
  const busy = new MemoryStore({
    onCall: async (method) => {
      // First they are listed to be read, then before the checkpoint is written.
      if (method !== 'listTags' || published > 0 || ++listed < 2) return;
      published++;
      await new CacheBuilder(busy as ContentStore).publish({
        at: day(1),
        paths: ['lib', { name: 'app', references: ['lib'] }],
        index: false,
      });
    },
  });
  for (const part of ['blobs', 'manifests', 'tags'] as const) {
    for (const [name, value] of (vandal.store as MemoryStore)[part]) busy[part].set(name as never, value as never);
  }
  const report = await verify(busy, { repair: REPAIR });
  expect(published).toBe(1);
  expect(report.repair?.dropped).toEqual([]);
  expect(hasDamage(report)).toBe(false);
  expect(await namesIn(busy)).toEqual(['app', 'lib']);
});

it('advises no other key where no Nix is at hand to push with one', async () => {
  const store = new MemoryStore();
  await new CacheBuilder(store).publish({ at: day(0), paths: ['a'] });
  const trustedPublicKeys = [key.publicKey.text];
  const { repair } = await verify(store, { trustedPublicKeys, repair: REPAIR, now: () => day(3) });
  expect(repair?.remaining.map(({ kind, remedy }) => [kind, remedy])).toContainEqual([
    'untrusted',
    'publish it again with the key, from a machine that has it',
  ]);
});
