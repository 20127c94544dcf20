/** Many clients, one cold NAR: asked for once, whether or not it is kept. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { DiskCache } from '../../src/serve/node/disk/disk-cache.ts';
import { TemporarySpools } from '../../src/serve/node/disk/temporary-spools.ts';
import type { ServeOptions } from '../../src/serve/serve-options.ts';
import { noise, turns } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';
import { tempDir } from '../support/temp-dir.ts';
import { baseName, bodyOf, hashPart, setUpApp } from './set-up.ts';
import { infoOf, KEY, LARGE, NAR, setUp } from './upstream-set-up.ts';

const MIB = 1024 * 1024;
const HUGE = noise(24 * MIB, 'huge');

async function openDisk(maxBytes: number): Promise<DiskCache> {
  const objects = await DiskCache.open({ directory: await tempDir(), maxBytes });
  if (objects === undefined) throw new Error('no disk cache');
  onTestFinished(() => objects.close());
  return objects;
}

const spools = async (memoryBytes: number): Promise<TemporarySpools> =>
  new TemporarySpools({ directory: await tempDir(), memoryBytes, freeBytes: 0 });

const PLACES: readonly (readonly [string, () => Promise<Partial<ServeOptions>>])[] = [
  ['in memory', async () => ({ spools: await spools(64 * MIB) })],
  ['in a file', async () => ({ spools: await spools(100_000) })],
  ['on disk', async () => ({ objects: await openDisk(100 * MIB) })],
  ['in a file, for the disk cache is small', async () => ({ objects: await openDisk(MIB), spools: await spools(0) })],
];

const narRequests = ({ requests }: FakeUpstream): string[] => requests.filter((request) => request.includes('/nar/'));

describe.each(PLACES)('a NAR of an upstream that waits %s', (_where, options) => {
  const start = async (nar: Buffer) => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar, key: KEY });
    const app = setUp([far], await options());
    const { url } = infoOf(await app.ask(`/${hashPart(1)}.narinfo`));
    return { far, ...app, url: `/${url}` };
  };

  it.each([
    ['small', NAR],
    ['large', LARGE],
  ])('is asked for once by a hundred: %s', async (_size, nar) => {
    const { far, ask, url } = await start(nar);
    const { promise: allHaveAsked, resolve } = Promise.withResolvers<void>();
    far.faults.answerAfter = allHaveAsked;
    const asking = Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        await turns(i);
        if (i === 99) resolve();
        const range = i % 10 === 9;
        const reply = await ask(url, range ? { Range: 'bytes=5-200004' } : { method: i % 10 === 8 ? 'HEAD' : 'GET' });
        return { right: range ? nar.subarray(5, 200_005) : nar, reply, isHead: i % 10 === 8 };
      }),
    );
    for (const { right, reply, isHead } of await asking) {
      expect([reply.status, reply.headers.get('content-length')]).toEqual([expect.any(Number), `${right.length}`]);
      if (!isHead) expect((await bodyOf(reply.body)).equals(right)).toBe(true);
    }
    expect(narRequests(far)).toEqual([`GET ${url}`]);
  });

  it('reaches those who come while it comes, whatever others take', async () => {
    const { far, ask, url } = await start(HUGE);
    const idle = (await ask(url)).body as ReadableStream<Uint8Array>;
    const fast = (await ask(url)).body as ReadableStream<Uint8Array>;
    const reader = fast.getReader();
    const taken: Uint8Array[] = [];
    for (let bytes = 0; bytes < 10 * MIB; bytes += taken.at(-1)?.length ?? 0) {
      const { value = new Uint8Array() } = await reader.read();
      taken.push(value);
    }
    const late = bodyOf((await ask(url)).body);
    for (let next = await reader.read(); !next.done; next = await reader.read()) taken.push(next.value);
    expect(Buffer.concat(taken).equals(HUGE)).toBe(true);
    expect((await late).equals(HUGE)).toBe(true);
    expect((await bodyOf(idle)).equals(HUGE)).toBe(true);
    expect(narRequests(far)).toEqual([`GET ${url}`]);
  });

  it('comes no more when the last one has left, and anew for the next', async () => {
    const { far, ask, url } = await start(HUGE);
    const bodies = (await Promise.all([ask(url), ask(url)])).map(({ body }) => body as ReadableStream<Uint8Array>);
    await bodies[0]?.cancel();
    await bodies[1]?.cancel();
    await vi.waitFor(() => expect(far.active()).toBe(0), 10_000);
    expect((await bodyOf((await ask(url)).body)).equals(HUGE)).toBe(true);
  });
});

describe('a NAR of the cache itself', () => {
  it.each([
    ['in a registry', {}, 1],
    ['on a disk of this machine, where nothing is won by it', { isNear: true }, 20],
  ])('that is %s', async (_where, options: Partial<ServeOptions>, opened) => {
    const reader = new MemoryCacheReader();
    const { ask } = setUpApp({ reader, spools: await spools(64 * MIB), ...options });
    const { url } = reader.add({ baseName: baseName(1), nar: LARGE, compression: 'none' }).narInfo;
    reader.faults.openDelayMs = 50;
    const replies = await Promise.all(Array.from({ length: 20 }, () => ask(`/${url}`)));
    for (const { body } of replies) expect((await bodyOf(body)).equals(LARGE)).toBe(true);
    expect(reader.opened).toHaveLength(opened);
  });

  it('is asked for once more when it failed all who waited', async () => {
    const reader = new MemoryCacheReader();
    const { ask } = setUpApp({ reader, spools: await spools(64 * MIB) });
    const { url } = reader.add({ baseName: baseName(1), nar: LARGE, compression: 'none' }).narInfo;
    Object.assign(reader.faults, { openDelayMs: 50, unreachable: true });
    const replies = await Promise.all(Array.from({ length: 5 }, () => ask(`/${url}`)));
    expect(replies.map(({ status }) => status)).toEqual([404, 404, 404, 404, 404]);
    reader.faults.unreachable = false;
    expect((await bodyOf((await ask(`/${url}`)).body)).equals(LARGE)).toBe(true);
  });
});
