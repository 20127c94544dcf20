import { expect, it, vi } from 'vitest';
import { BlobUploader } from '../../../src/cache/write/blob-uploader.ts';
import { CONCURRENT_UPLOADS } from '../../../src/cache/write/limits.ts';
import { MAX_PACK_BYTES } from '../../../src/cache/write/pack.ts';
import { NAR, PACK } from '../../../src/cache-index/media-types.ts';
import { MemoryStore } from '../../support/memory-store.ts';

it('waits for the packs that are under way, however many were sent before', async () => {
  const store = new MemoryStore();
  let gate = Promise.resolve();
  store.pushBlob = async () => {
    await gate;
    return 'pushed';
  };
  const uploader = new BlobUploader({ store });
  /** Each more than half of a pack. */
  const put = (byte: number) => uploader.put(Buffer.alloc(5 * 1024 * 1024, byte), PACK);
  for (let i = 0; i < 12; i++) await put(i);
  await uploader.flush();
  const { promise, resolve } = Promise.withResolvers<void>();
  gate = promise;
  for (let i = 12; i < 16; i++) await put(i);
  const awaited: unknown[] = [];
  const all = vi.spyOn(Promise, 'all').mockImplementation(async (promises) => {
    awaited.push(...promises);
    return Promise.allSettled(awaited);
  });
  const ready = uploader.ready();
  all.mockRestore();
  expect(awaited).toHaveLength(3);
  resolve();
  await ready;
});

it('sends packs while as many blobs as go at once do not end', async () => {
  const store = new MemoryStore();
  store.pushBlob = ({ mediaType }) => (mediaType === PACK ? Promise.resolve('pushed') : new Promise(() => undefined));
  const uploader = new BlobUploader({ store });
  const held = Array.from({ length: 2 * CONCURRENT_UPLOADS }, (_, i) => uploader.put(Buffer.alloc(9, i), NAR, 1));
  await uploader.put(Buffer.alloc(9), PACK);
  await uploader.flush();
  expect(held).toHaveLength(16);
});

it('fills a pack to the last byte, as whoever plans packs reckons', async () => {
  const uploader = new BlobUploader({ store: new MemoryStore() });
  const size = MAX_PACK_BYTES / 2;
  const places = [await uploader.put(Buffer.alloc(size, 1), PACK), await uploader.put(Buffer.alloc(size, 2), PACK)];
  await uploader.flush();
  const resolved = await Promise.all(places.map((place) => uploader.resolve(place)));
  expect(new Set(resolved.flatMap(({ blobs }) => blobs.map(({ digest }) => digest))).size).toBe(1);
});
