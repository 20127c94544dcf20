import { describe, expect, it } from 'vitest';
import { decodeCacheIndex } from '../../../src/cache/read/entry-point.ts';
import { refreshCacheIndex } from '../../../src/cache/write/cache-index.ts';
import { announceCheckpoint, commitCheckpoint, commitSegment } from '../../../src/cache/write/commit.ts';
import { encodeCheckpoint, tagOf } from '../../../src/cache-index/checkpoint.ts';
import { type EncodedSegment, encodeSegment, segmentDescriptor } from '../../../src/cache-index/segment.ts';
import { CACHE_INDEX_TAG } from '../../../src/cache-index/tags.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import type { ImageIndex } from '../../../src/oci/manifest.ts';
import { CacheBuilder, namesIn, readView } from '../../support/cache-builder.ts';
import { segmentOfDay } from '../../support/gc-inputs.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';

function indexOf(store: MemoryStore): ImageIndex {
  const manifest = store.manifests.get(store.tags.get(CACHE_INDEX_TAG) as Digest);
  if (!manifest) throw new Error('there is no cache-index');
  return decodeCacheIndex(manifest, 'test');
}

const listed = (store: MemoryStore): (string | undefined)[] => indexOf(store).manifests.map(tagOf);

const empty = (at: Date): EncodedSegment =>
  encodeSegment({ entries: [], blobs: [], storeDir: '/nix/store', creator: 'test', now: at });

describe('a commit', () => {
  it('stores a segment manifest last of all, so that it is visible whole or not at all', async () => {
    const calls: string[] = [];
    const store = new MemoryStore({ onCall: (method) => void calls.push(method) });
    await commitSegment(store, empty(day(0)), {});
    expect(calls).toEqual(['pushBlob', 'pushBlob', 'pushManifest']);
  });

  it('of a segment whose blobs are gone makes nothing visible', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a'] });
    const segment = await cache.publish({ at: day(1), asserted: ['a'], index: false });
    store.tags.delete(segment.tag);
    const pack = [...store.blobs.keys()][0] as Digest;
    store.blobs.delete(pack);
    await expect(commitSegment(store, segment, {})).rejects.toMatchObject({ code: 'ERR_BLOB_UNKNOWN' });
    expect(store.tags.has(segment.tag)).toBe(false);
  });

  it('of a checkpoint makes what it replaces dead with its last write', async () => {
    let dying = false;
    const store = new MemoryStore({
      onCall(method, [tag]) {
        if (dying && method === 'pushManifest' && String(tag).startsWith('ckpt-'))
          throw new NixcacheError('ERR_NETWORK', 'cut');
      },
    });
    const cache = new CacheBuilder(store);
    const old = await cache.publish({ at: day(0), paths: ['a'] });
    const checkpoint = encodeCheckpoint({
      ...{ replaces: [old.tag], segments: [], roots: [], pins: [], publicKeys: [], creator: 'test', now: day(1) },
    });
    await announceCheckpoint(store, checkpoint, {});
    dying = true;
    await expect(commitCheckpoint(store, checkpoint, {})).rejects.toThrow('cut');
    expect(await namesIn(store)).toEqual(['a']);
    dying = false;
    await commitCheckpoint(store, checkpoint, {});
    expect(await namesIn(store)).toEqual([]);
  });
});

describe('cache-index', () => {
  it('lists what its writer knows together with what others wrote since', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    const view = await readView(store);
    const theirs = await cache.publish({ at: day(1), paths: ['theirs'], publicKeys: ['k:2'] });
    const mine = await cache.publish({ at: day(0), paths: ['mine'], index: false });
    await refreshCacheIndex(store, { view, added: [mine.descriptor], publicKeys: ['k:1'], now: day(2) });
    expect(listed(store)).toEqual([mine.tag, theirs.tag]);
    expect(indexOf(store).annotations?.['io.nixcache.public-keys']).toBe('k:2 k:1');
    expect((await readView(store)).publicKeys).toEqual(['k:2', 'k:1']);
  });

  it('is made anew from the tags when it is missing', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    const segment = await cache.publish({ at: day(0), paths: ['a'], index: false });
    await refreshCacheIndex(store, { view: await readView(store), added: [], publicKeys: [], now: day(1) });
    expect(listed(store)).toEqual([segment.tag]);
  });

  it('does not list what a checkpoint replaced', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    const old = await cache.publish({ at: day(0), paths: ['a'] });
    const view = await readView(store);
    await refreshCacheIndex(store, { view, added: [], replaced: [old.tag], publicKeys: [], now: day(1) });
    expect(listed(store)).toEqual([]);
  });

  it('leaves out what was deleted since its writer looked', async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    const gone = await cache.publish({ at: day(0), paths: ['a'] });
    const stays = await cache.publish({ at: day(1), paths: ['b'] });
    const view = await readView(store);
    await store.deleteManifest(store.tags.get(gone.tag) as Digest);
    await refreshCacheIndex(store, { view, added: [], publicKeys: [], now: day(2) });
    expect(listed(store)).toEqual([stays.tag]);
  });

  it('lists the newest segments, as many as a manifest holds', async () => {
    const store = new MemoryStore();
    const view = await readView(store);
    const { descriptor } = empty(day(0));
    const many = Array.from({ length: 12_000 }, (_, i) => segmentDescriptor(descriptor, segmentOfDay(i), 1));
    await commitSegment(store, empty(day(0)), {});
    store.manifests.set(descriptor.digest, { descriptor, bytes: Buffer.alloc(0) });
    await refreshCacheIndex(store, { view, added: many, publicKeys: [], now: day(1) });
    const tags = listed(store);
    expect(tags.length).toBeGreaterThan(8000);
    expect(tags.at(-1)).toBe(segmentOfDay(11_999));
    expect(tags).toEqual(many.slice(-tags.length).map(tagOf));
  });

  it('that another tool wrote is left alone', async () => {
    const store = new MemoryStore();
    const foreign = await new CacheBuilder(store).publish({ at: day(0), index: false });
    store.tags.set(CACHE_INDEX_TAG, digestOf(foreign.manifest));
    store.tags.delete(foreign.tag);
    const view = { live: { segments: [], checkpoints: [], replaced: new Set<string>() } } as never;
    const update = {
      view: { ...(view as object), descriptors: new Map() } as never,
      added: [],
      publicKeys: [],
      now: day(1),
    };
    await expect(refreshCacheIndex(store, update)).rejects.toMatchObject({ code: 'ERR_INDEX' });
    expect(store.tags.get(CACHE_INDEX_TAG)).toBe(digestOf(foreign.manifest));
  });
});
