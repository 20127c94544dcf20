/** The app with a disk cache, in front of upstreams and of a cache that go away. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { DiskCache } from '../../src/serve/node/disk/disk-cache.ts';
import type { ServeOptions } from '../../src/serve/serve-options.ts';
import { noise, turns } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { tempDir } from '../support/temp-dir.ts';
import { type Asked, baseName, bodyOf, hashPart, setUpApp } from './set-up.ts';
import { infoOf, KEY, LARGE, NAR, ONCE_OPEN, open, setUp } from './upstream-set-up.ts';

const MIB = 1024 * 1024;

async function openDisk(directory: string, maxBytes = 64 * MIB): Promise<DiskCache> {
  const objects = await DiskCache.open({ directory, maxBytes });
  if (objects === undefined) throw new Error('no disk cache');
  onTestFinished(() => objects.close());
  return objects;
}

/** Apps one after the other, or beside each other, over one directory, in front of one upstream. */
async function withDisk(maxBytes?: number) {
  const [directory, far] = [await tempDir(), await startFakeUpstream()];
  const start = async (options: Partial<ServeOptions> = {}) => {
    const objects = await openDisk(directory, maxBytes);
    return { ...setUp([far], { objects, ...options }, ONCE_OPEN), objects };
  };
  return { directory, far, start };
}

const narInfoPath = (seed: number): string => `/${hashPart(seed)}.narinfo`;
const narRequests = ({ requests }: FakeUpstream): string[] => requests.filter((request) => request.includes('/nar/'));

async function kept(directory: string): Promise<string[]> {
  const names = await Promise.all(
    (await readdir(join(directory, 'objects'))).map((shard) => readdir(join(directory, 'objects', shard))),
  );
  return names.flat();
}

async function flip(directory: string, at: number): Promise<void> {
  for (const name of await kept(directory)) {
    const path = join(directory, 'objects', name.slice(-1), name);
    const bytes = await readFile(path);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(path, bytes);
  }
}

describe.each([
  ['a small NAR', NAR],
  ['a large NAR', LARGE],
])('%s of an upstream', (_what, nar) => {
  it('is asked for once, and after a restart without the upstream it is all there', async () => {
    const { far, start } = await withDisk();
    addPath(far, { baseName: baseName(1), nar, key: KEY });
    const first = await start();
    const { url } = infoOf(await first.ask(narInfoPath(1)));
    const cold = await bodyOf((await first.ask(`/${url}`)).body);
    expect(cold.equals(nar)).toBe(true);
    await first.objects.close();
    expect((await bodyOf((await first.ask(`/${url}`)).body)).equals(nar)).toBe(true);
    expect(narRequests(far)).toEqual([`GET /${url}`]);
    await far.close();
    for (const headers of [{}, { Range: 'bytes=100-299999' }] as Record<string, string>[]) {
      const next = await start();
      // As Nix asks that remembers the narinfo, and as it asks that does not.
      expect(
        (await bodyOf((await next.ask(`/${url}`, headers)).body)).equals(
          nar.subarray(headers['Range'] ? 100 : 0, headers['Range'] ? 300_000 : nar.length),
        ),
      ).toBe(true);
      const other = await start();
      expect(infoOf(await other.ask(narInfoPath(1))).narSize).toBe(nar.length);
      const reply = await other.ask(`/${url}`, headers);
      expect(reply.headers.get('cache-control')).toContain('immutable');
      await bodyOf(reply.body);
      const status = JSON.parse(String((await other.ask('/_status')).body));
      expect(status.counters).toMatchObject({ narDiskHits: 1, narInfoDiskHits: 1 });
      expect(status.diskCache).toMatchObject({ maxBytes: 64 * MIB });
      expect((await other.ask('/nix-cache-info')).status).toBe(200);
    }
  });

  it('is one request however many ask for it, early, late or for a part', async () => {
    const { far, start } = await withDisk();
    addPath(far, { baseName: baseName(1), nar, key: KEY });
    const { ask } = await start();
    far.faults.delayMs = 50;
    const { url } = infoOf(await ask(narInfoPath(1)));
    const replies = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        await turns(i * 5);
        const range: Record<string, string> = i % 10 === 9 ? { Range: 'bytes=5-200004' } : {};
        return { range, reply: await ask(`/${url}`, range) };
      }),
    );
    for (const { range, reply } of replies) {
      const bytes = await bodyOf(reply.body);
      expect(bytes.equals(range['Range'] ? nar.subarray(5, 200_005) : nar)).toBe(true);
    }
    expect(narRequests(far)).toEqual([`GET /${url}`]);
  });

  it.each([
    ['in the middle', 150_000],
    ['at its end', -1],
  ])('that was damaged %s is fetched anew', async (_where, at) => {
    const { directory, far, start } = await withDisk();
    addPath(far, { baseName: baseName(1), nar, key: KEY });
    const first = await start();
    const { url } = infoOf(await first.ask(narInfoPath(1)));
    await bodyOf((await first.ask(`/${url}`)).body);
    await first.objects.close();
    const place = at < 0 ? nar.length + at : at;
    for (const app of [first, await start()]) {
      await vi.waitFor(async () => expect(await kept(directory)).toHaveLength(1));
      await flip(directory, place);
      expect((await bodyOf((await app.ask(`/${url}`)).body)).equals(nar)).toBe(true);
      expect(app.events).toContainEqual(expect.objectContaining({ type: 'kept-damaged' }));
      expect((await bodyOf((await app.ask(`/${url}`)).body)).equals(nar)).toBe(true);
      await app.objects.close();
    }
    await far.close();
    const last = await start();
    expect((await bodyOf((await last.ask(`/${url}`)).body)).equals(nar)).toBe(true);
    // Nothing of it is given out when it cannot be fetched.
    await flip(directory, place);
    const gone = await start();
    const whole = await gone
      .ask(`/${url}`)
      .then((reply: Asked) => (reply.status === 200 ? bodyOf(reply.body).catch(() => undefined) : undefined));
    expect(whole).toBeUndefined();
  });

  it('is passed on when it is larger than the cache, and the disk is left alone', async () => {
    const { directory, far, start } = await withDisk(600_000);
    addPath(far, { baseName: baseName(1), nar: LARGE, key: KEY });
    const { ask } = await start();
    const { url } = infoOf(await ask(narInfoPath(1)));
    for (let i = 0; i < 2; i += 1) expect((await bodyOf((await ask(`/${url}`)).body)).equals(LARGE)).toBe(true);
    expect(await kept(directory)).toEqual([]);
    expect(narRequests(far)).toHaveLength(2);
  });

  it('is not kept, nor given to others as whole, when its hash is wrong', async () => {
    const { directory, far, start } = await withDisk();
    const info = addPath(far, { baseName: baseName(1), nar, key: KEY });
    const wrong = Buffer.from(nar);
    wrong[10] = (wrong[10] ?? 0) ^ 1;
    far.files.set(`/${info.url}`, wrong);
    const { ask, objects } = await start();
    await ask(narInfoPath(1));
    const read = async (): Promise<number | undefined> => {
      const reply = await ask(`/${info.url}`);
      return reply.status === 200 ? (await bodyOf(reply.body).catch(() => Buffer.alloc(0))).length : 0;
    };
    for (const length of await Promise.all([read(), read(), read()])) expect(length).toBeLessThan(nar.length);
    await objects.close();
    expect(await kept(directory)).toEqual([]);
  });
});

describe('a disk cache', () => {
  it('stops a download that nobody reads any more, and keeps nothing of it', async () => {
    const { directory, far, start } = await withDisk();
    const huge = noise(20 * MIB, 'huge');
    addPath(far, { baseName: baseName(1), nar: huge, key: KEY });
    const { ask } = await start();
    const { url } = infoOf(await ask(narInfoPath(1)));
    const [one, two] = [(await ask(`/${url}`)).body, (await ask(`/${url}`)).body] as ReadableStream<Uint8Array>[];
    await one?.cancel();
    await two?.cancel();
    await vi.waitFor(() => expect(far.active()).toBe(0), 10_000);
    await vi.waitFor(async () => expect(await readdir(join(directory, 'partial'))).toEqual([]), 10_000);
    expect((await bodyOf((await ask(`/${url}`)).body)).equals(huge)).toBe(true);
  });

  it('gives what is too large to be checked first, and heals it on its way', async () => {
    const { directory, far, start } = await withDisk();
    const huge = noise(20 * MIB, 'huge');
    addPath(far, { baseName: baseName(1), nar: huge, key: KEY });
    const first = await start();
    const { url } = infoOf(await first.ask(narInfoPath(1)));
    await bodyOf((await first.ask(`/${url}`)).body);
    await first.objects.close();
    const range = { Range: `bytes=${5 * MIB + 1}-${6 * MIB}` };
    expect(
      (await bodyOf((await (await start()).ask(`/${url}`, range)).body)).equals(
        huge.subarray(5 * MIB + 1, 6 * MIB + 1),
      ),
    ).toBe(true);
    await flip(directory, 12 * MIB);
    const { ask, events } = await start();
    expect((await bodyOf((await ask(`/${url}`)).body)).equals(huge)).toBe(true);
    expect(events).toContainEqual(expect.objectContaining({ type: 'kept-damaged' }));
    expect(narRequests(far)).toEqual([`GET /${url}`, expect.stringMatching(/^GET .* bytes=12582912-/)]);
  });

  it('keeps what the cache itself has, and gives it out only as long as the cache has it', async () => {
    const objects = await openDisk(await tempDir());
    const { ask, reader } = setUpApp({ objects });
    const { url } = reader.add({ baseName: baseName(1), nar: LARGE }).narInfo;
    expect((await bodyOf((await ask(`/${url}`)).body)).length).toBeGreaterThan(0);
    await objects.close();
    reader.faults.unreachable = true;
    expect((await ask(`/${url}`)).status).toBe(200);
    // The same disk, and a cache that never had it or has it no more.
    const other = setUpApp({ objects });
    expect((await other.ask(`/${url}`)).status).toBe(404);
  });

  it('takes a narinfo for what its upstream says, anew after a while, and for the last word when that says nothing', async () => {
    const { far, start } = await withDisk();
    let nowMs = Date.now();
    const now = (): Date => new Date(nowMs);
    addPath(far, { baseName: baseName(1), nar: NAR, key: KEY });
    const asked = (): number => far.requests.filter((request) => request.endsWith('.narinfo')).length;
    const once = async (): Promise<number> => {
      const app = await start({ now });
      const { status } = await app.ask(narInfoPath(1));
      await app.objects.close(); // which waits for what is being written
      return status;
    };
    expect([await once(), await once()]).toEqual([200, 200]);
    expect(asked()).toBe(1);
    nowMs += 2 * 3_600_000;
    expect(await once()).toBe(200);
    expect(asked()).toBe(2);
    const refreshed = await start({ now });
    await refreshed.ask('/_refresh', { method: 'POST' });
    await refreshed.ask(narInfoPath(1));
    await refreshed.objects.close();
    expect(asked()).toBe(3);
    nowMs += 2 * 3_600_000;
    far.faults.status = 503;
    expect(await once()).toBe(200);
    far.faults.status = 404;
    expect(await once()).toBe(404);
    far.faults.status = 503;
    await vi.waitFor(async () => expect(await once()).toBe(404));
  });

  it('believes no narinfo of who is asked no more, nor one that no trusted key signed', async () => {
    const { directory, far, start } = await withDisk();
    addPath(far, { baseName: baseName(1), nar: NAR });
    const first = await start();
    expect((await first.ask(narInfoPath(1))).status).toBe(200);
    await first.objects.close();
    await far.close();
    expect((await (await start()).ask(narInfoPath(1))).status).toBe(200);
    const { publicKey } = KEY;
    expect((await (await start({ trustedPublicKeys: [publicKey] })).ask(narInfoPath(1))).status).toBe(404);
    const other = await startFakeUpstream();
    const objects = await openDisk(directory);
    const { ask } = setUpApp({ objects, upstreams: [open(other.url)] });
    expect((await ask(narInfoPath(1))).status).toBe(404);
  });

  it('remembers what store an upstream is for', async () => {
    const { far, start } = await withDisk();
    far.files.set('/nix-cache-info', 'StoreDir: /other/store\n');
    addPath(far, { baseName: baseName(1), nar: NAR, storeDir: '/other/store' });
    const first = await start();
    expect(String((await first.ask('/nix-cache-info')).body)).toContain('/other/store');
    expect((await first.ask(narInfoPath(1))).status).toBe(200);
    await first.objects.close();
    await far.close();
    const next = await start();
    expect(String((await next.ask('/nix-cache-info')).body)).toContain('/other/store');
    expect((await next.ask(narInfoPath(1))).status).toBe(200);
  });
});
