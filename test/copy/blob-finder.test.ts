import { describe, expect, it } from 'vitest';
import { commitSegment } from '../../src/cache/write/commit.ts';
import type { Entry } from '../../src/cache-index/entry.ts';
import * as mediaTypes from '../../src/cache-index/media-types.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { BlobFinder } from '../../src/copy/blob-finder.ts';
import { bytesContent } from '../../src/oci/bytes-content.ts';
import { type Descriptor, describe as describeBytes } from '../../src/oci/descriptor.ts';
import { CacheBuilder, hashPartFor, openReader, readView } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';
import { segmentAt } from '../support/vandal.ts';

async function opened(fill: (cache: CacheBuilder, store: MemoryStore) => Promise<unknown>) {
  const calls: StoreMethod[] = [];
  const store = new MemoryStore({ onCall: (method) => void calls.push(method) });
  await fill(new CacheBuilder(store), store);
  const reader = await openReader(store);
  const finder = new BlobFinder({ store, view: await readView(store) });
  const held = (name: string) => {
    const found = reader.findAsserted(hashPartFor(name));
    if (!found) throw new Error(`there is no ${name}`);
    return found;
  };
  calls.length = 0;
  const find = (name: string): Promise<readonly Descriptor[]> => finder.find(held(name).entry, held(name).tag);
  return { store, finder, held, find, calls };
}

const layersOf = async (store: MemoryStore, tag: string): Promise<readonly Descriptor[]> =>
  (await segmentAt(store, tag)).manifest.layers
    .slice(1)
    .map(({ mediaType, digest, size }) => ({ mediaType, digest, size }));

describe('the blobs behind an entry', () => {
  it('that is a blob of its own are known without a request', async () => {
    const { store, finder, held, calls } = await opened((cache) =>
      cache.publish({ at: day(0), paths: ['a', 'b'], packed: false }),
    );
    const { entry, tag } = held('a');
    const found = await finder.find({ ...entry, listing: undefined }, tag);
    expect(calls).toEqual([]);
    const layers = await layersOf(store, tag);
    expect(found).toEqual(layers.filter(({ digest }) => digest === entry.nar[0]?.digest));
  });

  it('in a pack are read once a segment, with the size of the pack', async () => {
    const { store, held, find, calls } = await opened((cache) => cache.publish({ at: day(0), paths: ['a', 'b'] }));
    const first = await find('a');
    const asked = calls.length;
    expect(asked).toBeGreaterThan(0);
    expect(await find('b')).toEqual(first);
    expect(calls).toHaveLength(asked);
    expect(first).toEqual(await layersOf(store, held('a').tag));
    expect(first.map(({ mediaType }) => mediaType)).toEqual([mediaTypes.PACK]);
  });

  it('in a pack that is known are read from no other segment', async () => {
    const { store, finder, held, calls } = await opened(async (cache) => {
      await cache.publish({ at: day(0), paths: ['a'] });
      await cache.publish({ at: day(40), asserted: ['a'] });
    });
    const tags = [...store.tags.keys()].filter((tag) => tag.startsWith('seg-'));
    expect(tags).toHaveLength(2);
    const first = await finder.find(held('a').entry, tags[0]);
    const asked = calls.length;
    expect(await finder.find(held('a').entry, tags[1])).toEqual(first);
    expect(calls).toHaveLength(asked);
  });

  it('in parts are each part', async () => {
    const parts = ['one', 'two'].map((text) => Buffer.from(text));
    const blobs = parts.map((bytes) => describeBytes(mediaTypes.PART, bytes));
    const { find } = await opened(async (cache, store) => {
      await cache.publish({ at: day(0), paths: ['a'], packed: false });
      const [made] = [...(await openReader(store)).entries()];
      for (const [i, blob] of blobs.entries()) await store.pushBlob(blob, bytesContent(parts[i] ?? Buffer.alloc(0)));
      const nar = blobs.map(({ digest, size }) => ({ digest, offset: 0, length: size }));
      const entry = { narInfo: { ...made?.entry.narInfo, fileSize: 6 }, nar } as Entry;
      const now = day(1);
      await commitSegment(
        store,
        encodeSegment({ entries: [entry], blobs, storeDir: '/nix/store', creator: 'test', now }),
        {},
      );
    });
    expect(await find('a')).toEqual(blobs);
  });

  it('of a segment that does not hold them are an error of the index', async () => {
    const { finder, held } = await opened(async (cache) => {
      await cache.publish({ at: day(0), paths: ['a'] });
      await cache.publish({ at: day(1), paths: ['b'] });
    });
    const { entry } = held('a');
    const error = { code: 'ERR_INDEX', message: expect.stringContaining(entry.narInfo.path) };
    await expect(finder.find(entry, held('b').tag)).rejects.toMatchObject(error);
    await expect(finder.find(entry, undefined)).rejects.toMatchObject({ code: 'ERR_INDEX' });
  });

  it('of a segment that is gone are an error of the index', async () => {
    const { store, find } = await opened((cache) => cache.publish({ at: day(0), paths: ['a'] }));
    store.manifests.clear();
    await expect(find('a')).rejects.toMatchObject({ code: 'ERR_INDEX' });
  });
});
