import { Readable } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { Entry } from '../../src/cache-index/entry.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { Nar } from '../../src/serve/open-nar.ts';
import { Slots } from '../../src/serve/slots.ts';
import { VerifiedNars } from '../../src/serve/verified-nars.ts';
import { PieceDigester } from '../../src/streams/pieces.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { noise, readAll, turns } from '../support/bytes.ts';
import { CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { type Asked, bodyOf, headerOf, setUpApp } from './set-up.ts';

const LARGE = 5_000_000;
const made = new MemoryStore();

beforeAll(async () => {
  const builder = new CacheBuilder(made);
  await builder.publish({ at: new Date(1e12), paths: ['small'] });
  const paths = ['single', { name: 'large', bytes: LARGE }];
  await builder.publish({ at: new Date(2e12), paths, packed: false });
});

/** An app before a cache with the paths small (in a pack), single (a small blob of its own) and large. */
async function setUp() {
  const fetched: { readonly digest: Digest; readonly isPart: boolean }[] = [];
  const hooks: { onFetch: () => Promise<void> } = { onFetch: async () => undefined };
  const store = new MemoryStore({
    onCall: async (method, [target, options]) => {
      if (method !== 'fetchBlob') return;
      const { digest } = target as { digest: Digest };
      fetched.push({ digest, isPart: (options as { range?: unknown }).range !== undefined });
      await hooks.onFetch();
    },
  });
  for (const kind of ['blobs', 'manifests', 'tags'] as const) {
    for (const [key, value] of made[kind]) store[kind].set(key as never, value as never);
  }
  const reader = await IndexReader.open({ store, strict: false });
  await reader.refresh();
  const app = setUpApp({ reader });
  const entryOf = (name: string): Entry => {
    const entry = reader.findEntry(hashPartFor(name));
    if (!entry) throw new Error(`${name} is not there`);
    return entry;
  };
  const bytesOf = async (name: string): Promise<Buffer> => {
    const [at] = entryOf(name).nar;
    const blob = at && made.blobs.get(at.digest);
    if (!blob) throw new Error(`the NAR of ${name} is not there`);
    return blob.subarray(at.offset, at.offset + at.length);
  };
  /** Changes the byte of the path's NAR at `at`, in place. */
  const damage = (name: string, at: number): void => {
    const [extent] = entryOf(name).nar;
    const blob = extent && store.blobs.get(extent.digest);
    if (!extent || !blob) throw new Error('nothing to damage');
    const copy = Buffer.from(blob);
    copy[extent.offset + at] = (copy[extent.offset + at] ?? 0) ^ 1;
    store.blobs.set(extent.digest, copy);
  };
  const nar = (name: string, headers: Record<string, string> = {}): Promise<Asked> =>
    app.ask(`/${entryOf(name).narInfo.url}`, headers);
  const narInfo = (name: string): Promise<Asked> => app.ask(`/${hashPartFor(name)}.narinfo`);
  fetched.length = 0;
  return { ...app, store, reader, fetched, hooks, entryOf, bytesOf, damage, nar, narInfo };
}

const RANGES = ['bytes=0-', 'bytes=1-', 'bytes=-1', 'bytes=2000000-2000001', 'bytes=0-0', 'bytes=4000000-'];

describe('a damaged NAR', () => {
  it.each([...RANGES.map((range) => [range]), ['']])('is no answer to %j, wherever it is damaged', async (range) => {
    for (const name of ['small', 'single', 'large']) {
      const cache = await setUp();
      const { fileSize } = cache.entryOf(name).narInfo;
      cache.damage(name, fileSize - 1);
      const reply = await cache.nar(name, range === '' ? {} : { Range: range });
      const isWholeLarge = name === 'large' && range === '';
      if (isWholeLarge) await expect(bodyOf(reply.body)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
      else expect([name, reply.status]).toEqual([name, reply.status === 416 ? 416 : 404]);
    }
  });

  it('is not offered any more, until the index changes', async () => {
    for (const name of ['small', 'single', 'large']) {
      const cache = await setUp();
      expect((await cache.narInfo(name)).status).toBe(200);
      cache.damage(name, 5);
      await bodyOf((await cache.nar(name)).body).catch(() => undefined);
      expect((await cache.narInfo(name)).status).toBe(404);
      for (const headers of [{}, { Range: 'bytes=-5' }, { method: 'HEAD' }, { 'If-None-Match': '*' }]) {
        expect((await cache.nar(name, headers)).status).toBe(404);
      }
      expect(cache.events.filter(({ type }) => type === 'damaged')).toEqual([
        expect.objectContaining({ path: `/${cache.entryOf(name).narInfo.url}` }),
      ]);
      cache.damage(name, 5);
      await new CacheBuilder(cache.store).publish({ at: new Date(3e12), paths: ['more'] });
      await cache.app.refresher.refresh();
      expect((await cache.narInfo(name)).status).toBe(200);
      expect((await bodyOf((await cache.nar(name)).body)).equals(await cache.bytesOf(name))).toBe(true);
    }
  });

  it('is offered again after a refresh that somebody asks for, where it was mended in place', async () => {
    const cache = await setUp();
    cache.damage('small', 5);
    expect((await cache.nar('small')).status).toBe(404);
    cache.damage('small', 5);
    expect((await cache.narInfo('small')).status).toBe(404);
    await cache.app.fetch(new Request('http://cache/_refresh', { method: 'POST' }));
    expect((await cache.narInfo('small')).status).toBe(200);
    expect((await cache.nar('small')).status).toBe(200);
  });

  it('that is gone is not offered any more either', async () => {
    const cache = await setUp();
    for (const name of ['small', 'large']) {
      cache.store.blobs.delete(cache.entryOf(name).nar[0]?.digest as Digest);
      expect((await cache.nar(name)).status).toBe(404);
      expect((await cache.narInfo(name)).status).toBe(404);
    }
  });

  it('does not hurt the others in its pack or beside it', async () => {
    const cache = await setUp();
    cache.damage('large', 5);
    await bodyOf((await cache.nar('large')).body).catch(() => undefined);
    expect((await cache.nar('single')).status).toBe(200);
    expect((await cache.narInfo('small')).status).toBe(200);
  });

  it('that was damaged only on its way is right in the end', async () => {
    const cache = await setUp();
    for (const name of ['small', 'single']) {
      let fetches = 0;
      cache.damage(name, 5);
      cache.hooks.onFetch = async () => {
        fetches += 1;
        if (fetches === 2) cache.damage(name, 5);
      };
      const reply = await cache.nar(name);
      expect(reply.status).toBe(200);
      expect((await bodyOf(reply.body)).equals(await cache.bytesOf(name))).toBe(true);
    }
    expect(cache.events).toEqual([]);
  });

  it('is no longer given out where it was right before', async () => {
    const cache = await setUp();
    expect((await bodyOf((await cache.nar('large', { Range: 'bytes=1000000-' })).body)).length).toBeGreaterThan(1e6);
    cache.damage('large', 4_500_000);
    const reply = await cache.nar('large', { Range: 'bytes=3000000-' });
    const chunks: Uint8Array[] = [];
    const read = async (): Promise<void> => {
      for await (const chunk of reply.body as ReadableStream<Uint8Array>) chunks.push(chunk);
    };
    await expect(read()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    const whole = await cache.bytesOf('large');
    const sent = Buffer.concat(chunks);
    expect(sent.equals(whole.subarray(3_000_000, 3_000_000 + sent.length))).toBe(true);
    expect(3_000_000 + sent.length).toBeLessThanOrEqual(4_500_000);
  });
});

describe('a large NAR whose entry has the digests of its pieces', () => {
  const setUpPieces = async () => {
    const cache = await setUp();
    const entry = cache.entryOf('large');
    const digester = new PieceDigester();
    digester.update(await cache.bytesOf('large'));
    const { pieceBytes, digests } = digester.finish();
    const pieces = { pieceBytes, digests };
    cache.reader.findNarFile = () => ({ entry: { ...entry, pieces }, size: entry.narInfo.fileSize });
    return cache;
  };

  it('is read no further than the range and its pieces', async () => {
    const cache = await setUpPieces();
    const reply = await cache.nar('large', { Range: 'bytes=2000000-2000001' });
    expect((await bodyOf(reply.body)).equals((await cache.bytesOf('large')).subarray(2_000_000, 2_000_002))).toBe(true);
    expect(cache.fetched.map(({ isPart }) => isPart)).toEqual([true]);
  });

  it.each(['', 'bytes=0-', 'bytes=1000000-'])('is sent no further than it is right: %j', async (range) => {
    const cache = await setUpPieces();
    cache.damage('large', 3_500_000);
    const reply = await cache.nar('large', range === '' ? {} : { Range: range });
    const chunks: Uint8Array[] = [];
    const read = async (): Promise<void> => {
      for await (const chunk of reply.body as ReadableStream<Uint8Array>) chunks.push(chunk);
    };
    await expect(read()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    const start = range === 'bytes=1000000-' ? 1_000_000 : 0;
    expect(Buffer.concat(chunks).equals((await cache.bytesOf('large')).subarray(start, 3 * 1024 * 1024))).toBe(true);
    expect((await cache.narInfo('large')).status).toBe(404);
  });

  it('is none at all when its first piece is damaged', async () => {
    const cache = await setUpPieces();
    cache.damage('large', 5);
    expect((await cache.nar('large')).status).toBe(404);
  });
});

describe('ranges of a large NAR', () => {
  it('are what the NAR has there', async () => {
    const cache = await setUp();
    const whole = await cache.bytesOf('large');
    for (const [first, last] of [
      [0, 0],
      [1_048_575, 1_048_576],
      [1_048_576, 2_097_151],
      [3_000_001, whole.length - 1],
      [0, whole.length - 1],
    ] as const) {
      const reply = await cache.nar('large', { Range: `bytes=${first}-${last}` });
      expect(reply.status).toBe(206);
      expect(headerOf(reply, 'content-length')).toBe(String(last - first + 1));
      expect((await bodyOf(reply.body)).equals(whole.subarray(first, last + 1))).toBe(true);
    }
  });

  it('of which many are asked for at once cost one reading of the whole, which ends when all have left', async () => {
    const cache = await setUp();
    const ask = (range: string, signal?: AbortSignal): Promise<Response> => {
      const url = `http://cache/${cache.entryOf('large').narInfo.url}`;
      return Promise.resolve(
        cache.app.fetch(new Request(url, { headers: { Range: range }, ...(signal && { signal }) })),
      );
    };
    const leaving = new AbortController();
    let release = (): void => undefined;
    cache.hooks.onFetch = () =>
      new Promise((resolve) => {
        release = resolve;
      });
    const replies = Array.from({ length: 20 }, (_, i) =>
      ask(`bytes=${i + 1}-${i + 1000}`, i < 10 ? leaving.signal : undefined),
    );
    await turns(1000);
    expect(cache.fetched.filter(({ isPart }) => !isPart)).toHaveLength(1);
    leaving.abort();
    cache.hooks.onFetch = async () => undefined;
    release();
    const statuses = (await Promise.all(replies)).map(({ status }) => status);
    expect(statuses.slice(10)).toEqual(Array.from({ length: 10 }, () => 206));
    expect(cache.fetched.filter(({ isPart }) => !isPart)).toHaveLength(1);
  });
});

it('a NAR without a file hash that has become another is read anew once that has shown', async () => {
  const [before, after] = [noise(LARGE, 'before'), noise(LARGE, 'after')];
  let there = before;
  const lost: string[] = [];
  const verified = new VerifiedNars({
    open: async (_nar, { range }) =>
      Readable.from([range ? there.subarray(range.offset, range.offset + range.length) : there], { objectMode: false }),
    onLost: (_nar, error) => void lost.push(error.message),
    slots: new Slots(1),
  });
  const upstream = { id: 'far', name: 'far' } as Upstream;
  const nar: Nar = { upstream, url: 'x.nar.zst', ours: 'nar/u/far/x', size: LARGE };
  const read = async (): Promise<Buffer> => {
    const range = { offset: 1000, length: 100 };
    const opened = await verified.open(nar, { range, signal: new AbortController().signal });
    return Buffer.isBuffer(opened) ? opened : await readAll(opened);
  };
  expect(await read()).toEqual(before.subarray(1000, 1100));
  there = after;
  await expect(read()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  expect(lost).toHaveLength(1);
  expect(await read()).toEqual(after.subarray(1000, 1100));
});
