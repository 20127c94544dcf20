/** What gc refuses to do, and what it cannot. */
import { describe, expect, it } from 'vitest';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { parseTag, segmentTag } from '../../src/cache-index/tags.ts';
import { NixcacheError } from '../../src/errors.ts';
import { DistributionDeleter } from '../../src/gc/deleter.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { decodeImageManifest, encodeManifest, IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { CacheBuilder, hashPartFor, namesIn, openReader } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore, type MemoryStoreOptions } from '../support/memory-store.ts';

async function aged(options: MemoryStoreOptions = {}): Promise<{ store: MemoryStore; cache: CacheBuilder }> {
  const store = new MemoryStore(options);
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['lib', 'old'], roots: ['old'] });
  await cache.publish({ at: day(50), paths: [{ name: 'app', references: ['lib'] }], roots: ['app'] });
  return { store, cache };
}

const contents = ({ blobs, manifests, tags }: MemoryStore): unknown => ({
  blobs: new Map(blobs),
  manifests: new Map(manifests),
  tags: new Map(tags),
});

const ofKind = (store: MemoryStore, kind: string): string[] =>
  [...store.tags.keys()].filter((tag) => parseTag(tag)?.kind === kind);

const oldest = (store: MemoryStore, kind: string): string => ofKind(store, kind).sort()[0] ?? '';

function manifestOf(store: MemoryStore, tag: string): { readonly config: Digest; readonly entries: Digest } {
  const { bytes } = store.manifests.get(store.tags.get(tag) as Digest) ?? { bytes: Buffer.alloc(0) };
  const { config, layers } = decodeImageManifest(bytes, tag);
  return { config: config.digest, entries: layers[0]?.digest as Digest };
}

describe('gc stops, and leaves the cache byte for byte as it was, when it cannot read', () => {
  const damages: readonly (readonly [string, (store: MemoryStore) => void, string])[] = [
    [
      'the entries of a segment',
      (store) => store.blobs.delete(manifestOf(store, oldest(store, 'segment')).entries),
      'ERR_INDEX',
    ],
    [
      'the roots of a segment',
      (store) => store.blobs.delete(manifestOf(store, oldest(store, 'segment')).config),
      'ERR_INDEX',
    ],
    [
      'the manifest of a segment',
      (store) => store.manifests.delete(store.tags.get(oldest(store, 'segment')) as Digest),
      'ERR_INDEX',
    ],
    ['a checkpoint', (store) => store.blobs.delete(parseTag(oldest(store, 'checkpoint'))?.id as Digest), 'ERR_INDEX'],
    [
      'entries that were changed',
      (store) => store.blobs.set(manifestOf(store, oldest(store, 'segment')).entries, Buffer.from('x')),
      'ERR_DIGEST_MISMATCH',
    ],
    [
      'a tag of a newer format',
      (store) => store.tags.set('seg2-0-0', store.tags.get(oldest(store, 'segment')) as Digest),
      'ERR_INDEX_VERSION',
    ],
    [
      'cache-index, which another tool wrote',
      (store) => store.tags.set('cache-index', store.tags.get(oldest(store, 'segment')) as Digest),
      'ERR_INDEX',
    ],
    [
      'a segment whose tag names other entries',
      (store) =>
        store.tags.set(
          segmentTag(digestOf(Buffer.from('x')), day(1)),
          store.tags.get(oldest(store, 'segment')) as Digest,
        ),
      'ERR_INDEX',
    ],
    [
      'a segment that a checkpoint vouches for and somebody deleted',
      (store) => {
        const tag = oldest(store, 'segment');
        store.manifests.delete(store.tags.get(tag) as Digest);
        store.tags.delete(tag);
      },
      'ERR_INDEX',
    ],
  ];

  it.each(damages)('%s', async (_, damage, code) => {
    const { store, cache } = await aged();
    await cache.publish({ at: day(51), paths: ['a'] });
    await gcAt(store, day(52));
    await gcAt(store, day(54)); // one segment and one checkpoint are left
    await cache.publish({ at: day(55), paths: ['b'] });
    damage(store);
    const before = contents(store);
    await expect(gcAt(store, day(100), { graceSeconds: 0 })).rejects.toMatchObject({ code });
    expect(contents(store)).toEqual(before);
  });
});

it('says what going on would destroy', async () => {
  const { store } = await aged();
  store.blobs.delete(manifestOf(store, oldest(store, 'segment')).config);
  await expect(gcAt(store, day(60))).rejects.toThrow(/stopped before it changed anything.*would have been dropped/);
});

it('passes over a deleted segment that only a stale cache-index lists', async () => {
  const { store, cache } = await aged();
  const tag = oldest(store, 'segment');
  store.blobs.delete(manifestOf(store, tag).entries);
  store.manifests.delete(store.tags.get(tag) as Digest);
  store.tags.delete(tag);
  await cache.publish({ at: day(51), paths: ['lib'], index: false });
  const { events } = await gcAt(store, day(60));
  expect(events).toContainEqual({ type: 'warning', message: expect.stringContaining('was deleted') });
  expect(await namesIn(store)).toEqual(['app', 'lib']);
});

it('reports a registry that does not delete, once, and is done all the same', async () => {
  let asked = 0;
  const { store } = await aged({
    onCall(method) {
      if (method !== 'deleteManifest') return;
      asked++;
      throw new NixcacheError('ERR_UNSUPPORTED', 'delete manifest: 405');
    },
  });
  for (let i = 0; i < 4; i++) await new CacheBuilder(store).publish({ at: day(51 + i), paths: [`p${i}`] });
  const { report } = await gcAt(store, day(60), { graceSeconds: 0 });
  expect(report.notFreed).toEqual([
    { reason: 'delete manifest: 405', tags: expect.arrayContaining(ofKind(store, 'segment').slice(0, 6)) },
  ]);
  expect(report).toMatchObject({ deletedManifests: 0, dropped: { entries: 1 } });
  expect(asked).toBe(3);
  expect(await namesIn(store)).toEqual(['app', 'lib', 'p0', 'p1', 'p2', 'p3']);
});

it('keeps the record of a checkpoint that cannot be deleted: without it nobody could read the checkpoint', async () => {
  let stuck: string | undefined;
  const { store, cache } = await aged({
    onCall(method, [digest]) {
      const isStuck = method === 'deleteManifest' && stuck !== undefined && digest === store.tags.get(stuck);
      if (isStuck) throw new NixcacheError('ERR_NETWORK', 'no');
    },
  });
  await gcAt(store, day(60));
  stuck = oldest(store, 'checkpoint');
  const record = oldest(store, 'record');
  await cache.publish({ at: day(62), paths: ['b'], roots: ['b'] });
  await gcAt(store, day(63));
  await gcAt(store, day(65));
  expect([store.tags.has(stuck), store.tags.has(record)]).toEqual([true, true]);
  stuck = undefined;
  await gcAt(store, day(66));
  expect([ofKind(store, 'checkpoint').length, ofKind(store, 'record').length]).toEqual([1, 1]);
  expect(store.tags.has(record)).toBe(false);
});

it('never lets what was dropped come back when a segment cannot be deleted', async () => {
  let undeletable: Digest | undefined;
  const { store, cache } = await aged({
    onCall(method, [digest]) {
      if (method === 'deleteManifest' && digest === undeletable) throw new NixcacheError('ERR_FORBIDDEN', 'no');
    },
  });
  const stuck = oldest(store, 'segment');
  undeletable = store.tags.get(stuck);
  for (let at = 60; at < 80; at += 2) {
    await cache.publish({ at: day(at), paths: [`p${at}`], roots: ['app'] });
    const { report } = await gcAt(store, day(at + 1));
    if (at > 62) expect(report.notFreed).toMatchObject([{ tags: [stuck] }]);
    expect(await namesIn(store)).not.toContain('old');
  }
  expect(store.tags.has(stuck)).toBe(true);
  expect(ofKind(store, 'checkpoint')).toHaveLength(2); // the newest, and the one before within its grace period
});

it('never deletes a manifest that also has a tag which nixcache did not give it', async () => {
  const { store } = await aged();
  const victim = oldest(store, 'segment');
  store.tags.set('my-favourite', store.tags.get(victim) as Digest);
  const { report } = await gcAt(store, day(60), { graceSeconds: 0 });
  expect(report.notFreed).toMatchObject([{ tags: [victim], reason: expect.stringContaining('my-favourite') }]);
  expect(report.deletedManifests).toBe(1);
  expect(store.manifests.has(store.tags.get('my-favourite') as Digest)).toBe(true);
});

it('never deletes a manifest that also has the tag of a segment which is not due yet', async () => {
  const { store } = await aged();
  const due = oldest(store, 'segment');
  await gcAt(store, day(60));
  const { entries } = manifestOf(store, due);
  const live = segmentTag(entries, day(60.5));
  store.tags.set(live, store.tags.get(due) as Digest);
  const { report } = await gcAt(store, day(62));
  expect(report.notFreed).toMatchObject([{ tags: [due], reason: expect.stringContaining(live) }]);
  expect(store.manifests.has(store.tags.get(live) as Digest)).toBe(true);
});

it('takes a segment out of a stale cache-index before deleting it: some registries keep what an index names', async () => {
  const listedWhenDeleted: boolean[] = [];
  const { store } = await aged({
    onCall(method, [digest]) {
      if (method !== 'deleteManifest') return;
      const index = store.manifests.get(store.tags.get('cache-index') as Digest);
      listedWhenDeleted.push(String(index?.bytes).includes(String(digest)));
    },
  });
  const stale = store.tags.get('cache-index') as Digest;
  await gcAt(store, day(60));
  store.tags.set('cache-index', stale);
  await gcAt(store, day(62));
  expect(listedWhenDeleted).toEqual([false, false]);
});

it('never touches tags that are not of the format', async () => {
  const { store } = await aged();
  for (const tag of ['latest', 'seg-mine', 'ckpt-x', 'v1.2'])
    await store.pushManifest(tag, 'application/vnd.oci.image.index.v1+json', foreign(tag));
  await gcAt(store, day(60), { graceSeconds: 0 });
  expect([...store.tags.keys()]).toEqual(expect.arrayContaining(['latest', 'seg-mine', 'ckpt-x', 'v1.2']));
});
const foreign = (tag: string): Buffer =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [],
      annotations: { tag },
    }),
  );

it('stops when the live piece of a sparse pack is not what its entry says', async () => {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: ['a', 'b', 'c'].map((name) => ({ name, bytes: 1000 })) });
  await cache.publish({ at: day(40), asserted: ['a'] });
  const entry = (await openReader(store)).findEntry(hashPartFor('a'));
  const pack = entry?.nar[0]?.digest as Digest;
  store.blobs.set(pack, Buffer.alloc(store.blobs.get(pack)?.length ?? 0));
  await expect(gcAt(store, day(60))).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  expect(await namesIn(store)).toEqual(['a', 'b', 'c']);
});

it('stops when an entry points at other bytes of a sparse pack', async () => {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  const { tag } = await cache.publish({ at: day(0), paths: ['a', 'b', 'c'].map((name) => ({ name, bytes: 1000 })) });
  const entry = (await openReader(store)).findEntry(hashPartFor('a'));
  const { layers } = decodeImageManifest(store.manifests.get(store.tags.get(tag) as Digest)?.bytes as Buffer, tag);
  if (!entry) throw new Error('a is not in the cache');
  const shifted = { ...entry, nar: entry.nar.map((extent) => ({ ...extent, offset: extent.offset + 1 })) };
  const wrong = encodeSegment({
    ...{ entries: [shifted], blobs: layers.slice(1), storeDir: '/nix/store', creator: 'test', now: day(40) },
  });
  await commitSegment(store, wrong, {});
  await expect(gcAt(store, day(60))).rejects.toMatchObject({ code: 'ERR_INDEX' });
  expect(ofKind(store, 'checkpoint')).toEqual([]);
  expect(await namesIn(store)).toEqual(['a', 'b', 'c']);
});

it('stops when a segment has fewer entries than its config says', async () => {
  const store = new MemoryStore();
  const segment = await new CacheBuilder(store).publish({ at: day(0), paths: ['a'] });
  const manifest = decodeImageManifest(segment.manifest, segment.tag);
  const config = Buffer.from(
    String(store.blobs.get(manifest.config.digest)).replace('"entryCount":1', '"entryCount":2'),
  );
  const descriptor = { ...manifest.config, digest: digestOf(config), size: config.length };
  store.blobs.set(descriptor.digest, config);
  await store.pushManifest(segment.tag, IMAGE_MANIFEST, encodeManifest({ ...manifest, config: descriptor }));
  const before = contents(store);
  await expect(gcAt(store, day(60))).rejects.toMatchObject({ code: 'ERR_INDEX' });
  expect(contents(store)).toEqual(before);
});

it('is interrupted between any two steps by its signal', async () => {
  const { store } = await aged();
  const controller = new AbortController();
  const onEvent = ({ type }: { readonly type: string }): void => {
    if (type === 'segment-written') controller.abort(new NixcacheError('ERR_INTERRUPTED', 'stopped'));
  };
  await expect(gcAt(store, day(60), { signal: controller.signal, onEvent })).rejects.toMatchObject({
    code: 'ERR_INTERRUPTED',
  });
  expect(ofKind(store, 'checkpoint')).toEqual([]);
  expect(await namesIn(store)).toEqual(['app', 'lib', 'old']);
});

describe('DistributionDeleter', () => {
  const list = ['a', 'b', 'c', 'd', 'e'].map((tag) => ({ tag, digest: digestOf(Buffer.from(tag)) }));
  const failing = (tags: string): DistributionDeleter =>
    new DistributionDeleter({
      async deleteManifest(digest) {
        const { tag = '' } = list.find((unneeded) => unneeded.digest === digest) ?? {};
        if (tags.includes(tag)) throw new NixcacheError('ERR_UNSUPPORTED', `${tag} stays`);
        return 'deleted';
      },
    });

  it('goes on after single failures', async () => {
    const report = await failing('bd').deleteManifests(list);
    expect(report.deleted).toEqual(['a', 'c', 'e']);
    expect(report.failed.map(({ tag }) => tag)).toEqual(['b', 'd']);
  });

  it('gives up when nothing can be deleted', async () => {
    const { deleted, failed } = await failing('abcde').deleteManifests(list);
    expect(deleted).toEqual([]);
    expect(failed.map(({ tag, error }) => [tag, error.message])).toEqual([
      ['a', 'a stays'],
      ['b', 'b stays'],
      ['c', 'c stays'],
      ['d', 'c stays'],
      ['e', 'c stays'],
    ]);
  });
});
