import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { fetchListing, openNar, slice } from '../../../src/cache/read/nar-source.ts';
import { type Entry, fileHashOf, narUrl } from '../../../src/cache-index/entry.ts';
import type { Extent } from '../../../src/cache-index/extent.ts';
import { toStorePath } from '../../../src/nix/store-path.ts';
import { bytesContent } from '../../../src/oci/bytes-content.ts';
import { type Digest, digestOf } from '../../../src/oci/digest.ts';
import { describeBytes, noise, readAll } from '../../support/bytes.ts';
import { baseNameFor } from '../../support/cache-builder.ts';
import { MemoryStore } from '../../support/memory-store.ts';

const nar = noise(1000, 'nar');
const listing = zstdCompressSync('{"version":1}');

async function stored(...blobs: readonly Buffer[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const blob of blobs) await store.pushBlob(describeBytes(blob), bytesContent(blob));
  return store;
}

const packed = (text: string): Entry => {
  const bytes = zstdCompressSync(text);
  const extents = [{ digest: digestOf(bytes), offset: 0, length: bytes.length }];
  return { ...entryAt([]), listing: { digest: digestOf(bytes), extents } };
};

const entryAt = (extents: readonly Extent[], listed?: readonly Extent[]): Entry => ({
  narInfo: {
    path: toStorePath(baseNameFor('a')),
    url: narUrl(fileHashOf(digestOf(nar)), 'none'),
    compression: 'none',
    fileHash: fileHashOf(digestOf(nar)),
    fileSize: nar.length,
    narHash: fileHashOf(digestOf(nar)),
    narSize: nar.length,
    references: [],
    sigs: [],
  },
  nar: extents,
  ...(listed && { listing: { digest: digestOf(listing), extents: listed } }),
});

const extent = (blob: Buffer, offset: number, length: number): Extent => ({ digest: digestOf(blob), offset, length });
const pack = Buffer.concat([noise(10, 1), nar, listing]);
const [head, tail] = [nar.subarray(0, 600), nar.subarray(600)];

describe.each([
  ['a blob of its own', [nar], [extent(nar, 0, 1000)]],
  ['a pack', [pack], [extent(pack, 10, 1000)]],
  ['parts', [head, tail], [extent(head, 0, 600), extent(tail, 0, 400)]],
])('a NAR in %s', (_, blobs, extents) => {
  it('is read whole', async () => {
    expect((await readAll(await openNar(await stored(...blobs), entryAt(extents)))).equals(nar)).toBe(true);
  });

  it('is read in ranges', async () => {
    const store = await stored(...blobs);
    for (const range of [
      { offset: 0, length: 1 },
      { offset: 599, length: 2 },
      { offset: 0, length: 1000 },
      { offset: 999, length: 1 },
    ]) {
      const read = await readAll(await openNar(store, entryAt(extents), { range }));
      expect(read.equals(nar.subarray(range.offset, range.offset + range.length))).toBe(true);
    }
  });

  it('is not read past its end', async () => {
    const opened = openNar(await stored(...blobs), entryAt(extents), { range: { offset: 999, length: 2 } });
    await expect(opened).rejects.toMatchObject({ code: 'ERR_RANGE' });
  });

  it('that is gone is absent at once', async () => {
    await expect(openNar(new MemoryStore(), entryAt(extents))).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('that is not what it should be ends in an error, its end withheld', async () => {
    const store = await stored(...blobs);
    for (const digest of store.blobs.keys()) {
      const bytes = Buffer.from(store.blobs.get(digest) ?? []);
      bytes[500 % bytes.length] = (bytes[500 % bytes.length] ?? 0) ^ 1;
      store.blobs.set(digest, bytes);
    }
    const read = openNar(store, entryAt(extents)).then(readAll);
    await expect(read).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });
});

it('a part that is gone ends the stream in an error', async () => {
  const store = await stored(head);
  const opened = await openNar(store, entryAt([extent(head, 0, 600), extent(tail, 0, 400)]));
  await expect(readAll(opened)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
});

describe('parts that nobody reads to their end', () => {
  const extents = [extent(head, 0, 600), extent(tail, 0, 400)];
  /** A store that tells what of it was left open. */
  async function watched(): Promise<{ readonly store: MemoryStore; readonly opened: Readable[] }> {
    const store = await stored(head, tail);
    const opened: Readable[] = [];
    const fetchBlob = store.fetchBlob.bind(store);
    store.fetchBlob = async (...args) => {
      const stream = await fetchBlob(...args);
      opened.push(stream);
      return stream;
    };
    return { store, opened };
  }

  it.each([
    ['the NAR', undefined],
    ['a range of it', { offset: 590, length: 20 }],
  ])('are closed with %s before its first byte was asked for', async (_, range) => {
    const { store, opened } = await watched();
    const stream = await openNar(store, entryAt(extents), { range });
    stream.destroy();
    await once(stream, 'close');
    await expect.poll(() => opened.map(({ destroyed }) => destroyed)).toEqual([true]);
  });

  it('are closed with it in their middle', async () => {
    const { store, opened } = await watched();
    const stream = await openNar(store, entryAt(extents), { range: { offset: 590, length: 20 } });
    for await (const _ of stream) break;
    await expect.poll(() => opened.map(({ destroyed }) => destroyed)).toEqual(opened.map(() => true));
  });

  it('are closed when one is opened after that', async () => {
    const { store, opened } = await watched();
    const { promise, resolve } = Promise.withResolvers<void>();
    const fetchBlob = store.fetchBlob;
    store.fetchBlob = async (target, options) => {
      if (target.digest === digestOf(tail)) await promise;
      return fetchBlob(target, options);
    };
    const stream = await openNar(store, entryAt(extents), { range: { offset: 590, length: 20 } });
    expect(await once(stream, 'data')).toHaveLength(1);
    stream.destroy();
    resolve();
    await expect.poll(() => opened.map(({ destroyed }) => destroyed)).toEqual([true, true]);
  });
});

describe('a listing', () => {
  it('is read from its pack and unpacked', async () => {
    const entry = entryAt([extent(pack, 10, 1000)], [extent(pack, 1010, listing.length)]);
    expect(String(await fetchListing(await stored(pack), entry))).toBe('{"version":1}');
  });

  it('that was not published is undefined', async () => {
    expect(await fetchListing(new MemoryStore(), entryAt([extent(pack, 10, 1000)]))).toBeUndefined();
  });

  it('that is other bytes is refused', async () => {
    const entry = entryAt([extent(pack, 10, 1000)], [extent(pack, 1009, listing.length)]);
    await expect(fetchListing(await stored(pack), entry)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });
});

test('slices of extents hold the bytes of the range and no others', () => {
  const extents = fc.array(fc.record({ offset: fc.nat({ max: 9 }), length: fc.nat({ max: 9 }) }), { maxLength: 5 });
  fc.assert(
    fc.property(extents, fc.nat({ max: 50 }), fc.nat({ max: 50 }), (pieces, offset, length) => {
      const whole = pieces.map((piece, i) => ({ ...piece, digest: `sha256:${i}` as Digest }));
      const bytesOf = (some: readonly Extent[]): string[] =>
        some.flatMap((one) => Array.from({ length: one.length }, (_, at) => `${one.digest} ${one.offset + at}`));
      const sliced = slice(whole, { offset, length });
      expect(bytesOf(sliced)).toEqual(bytesOf(whole).slice(offset, offset + length));
      expect(sliced.every((one) => one.length > 0)).toBe(true);
    }),
  );
});

it('a listing is served up to 64 MiB', async () => {
  const [most, more] = [64 * 1024 * 1024, 64 * 1024 * 1024 + 1].map((bytes) => '{}'.padEnd(bytes));
  const store = await stored(zstdCompressSync(most ?? ''), zstdCompressSync(more ?? ''));
  expect((await fetchListing(store, packed(most ?? '')))?.length).toBe(64 * 1024 * 1024);
  await expect(fetchListing(store, packed(more ?? ''))).rejects.toMatchObject({ code: 'ERR_INDEX' });
});
