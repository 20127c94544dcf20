/** When the index is read, and who waits for it. */
import { createHash } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { narUrl } from '../../../src/cache-index/entry.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import { hashFromBytes } from '../../../src/nix/hash.ts';
import { PROMPT } from '../../../src/upstream/patience.ts';
import { Upstream } from '../../../src/upstream/upstream.ts';
import { parseUpstream } from '../../../src/upstream/upstream-cache.ts';
import { noise } from '../../support/bytes.ts';
import { addPath, startFakeUpstream } from '../../support/fake-upstream.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { baseName, hashPart } from '../set-up.ts';
import { start } from './start.ts';

const fileHashOf = (bytes: Buffer) => hashFromBytes(createHash('sha256').update(bytes).digest());
/** Nothing that takes as long comes while a test lasts. */
const FOR_EVER_MS = 1e9;

describe('the index', () => {
  it('is waited for at the start only as long as is said', async () => {
    const reader = new MemoryCacheReader();
    reader.faults.refreshDelayMs = FOR_EVER_MS;
    const { get } = await start({ firstRefreshMs: 50 }, reader);
    expect((await get('/nix-cache-info')).status).toBe(200);
  });

  it('is not waited for to the end when one is known', async () => {
    const reader = new MemoryCacheReader();
    reader.add({ baseName: baseName(1), nar: noise(10, 1) });
    reader.faults.refreshDelayMs = 3_600_000;
    const { get } = await start({}, reader);
    expect((await get(`/${hashPart(1)}.narinfo`)).status).toBe(200);
    expect(reader).toMatchObject({ refreshes: 1 });
    expect(reader.status().refreshedAt).toBeUndefined();
  });

  it('is not waited for at the start, and what it may have is not said to be missing', async () => {
    const far = await startFakeUpstream();
    const { url } = addPath(far, { baseName: baseName(3), nar: noise(10, 3) });
    const http = new HttpClient();
    onTestFinished(() => http.destroy());
    const upstream = new Upstream(parseUpstream(far.url), { http, patience: PROMPT });
    const reader = new MemoryCacheReader();
    const gate = Promise.withResolvers<void>();
    const published = {
      baseName: baseName(2),
      nar: noise(10, 2),
      listing: '{"version":1,"root":{"type":"directory","entries":{}}}',
    };
    Object.assign(reader.faults, { refreshAfter: gate.promise, published });
    const { get } = await start({ firstRefreshMs: 10, upstreams: [upstream] }, reader);
    for (const path of [`${hashPart(3)}.narinfo`, url]) expect((await get(`/${path}`)).status).toBe(200);
    const paths = [
      `${hashPart(2)}.narinfo`,
      `${hashPart(2)}.ls`,
      narUrl(fileHashOf(published.nar), 'none'),
      `${hashPart(4)}.narinfo`,
    ];
    const keys = get('/public-key');
    const asked = paths.map((path) => get(`/${path}`));
    await expect
      .poll(() => paths.every((path) => far.requests.some((request) => request.includes(path.slice(0, 32)))))
      .toBe(true);
    reader.publicKeys.push('a:1');
    gate.resolve();
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([200, 200, 200, 404]);
    expect((await keys).status).toBe(200);
  });

  it('that cannot be read holds up misses only until that shows', async () => {
    const reader = new MemoryCacheReader();
    const gate = Promise.withResolvers<void>();
    Object.assign(reader.faults, { refreshAfter: gate.promise, refreshError: 'registry on fire' });
    const { get } = await start({ firstRefreshMs: 10 }, reader);
    const miss = get(`/${hashPart(2)}.narinfo`);
    gate.resolve();
    expect((await miss).status).toBe(404);
    reader.faults.refreshAfter = new Promise(() => {});
    expect((await get(`/${hashPart(2)}.narinfo`)).status).toBe(404);
  });

  it('does not keep a server from ending that is told to while it starts', async () => {
    const reader = new MemoryCacheReader();
    reader.faults.refreshDelayMs = FOR_EVER_MS;
    const { server } = await start({ firstRefreshMs: FOR_EVER_MS, signal: AbortSignal.abort() }, reader);
    await server.close();
  });

  it('known from before is made new before anyone is answered, where the registry answers', async () => {
    const reader = new MemoryCacheReader();
    reader.add({ baseName: baseName(1), nar: noise(10, 1) });
    reader.faults.refreshDelayMs = 50;
    reader.faults.published = { baseName: baseName(2), nar: noise(10, 2) };
    const { get } = await start({}, reader);
    expect((await get(`/${hashPart(2)}.narinfo`)).status).toBe(200);
  });

  it('is refreshed again and again, and a failure is reported once until it changes', async () => {
    const { reader, events } = await start({ indexTtlMs: 20 });
    reader.faults.refreshError = 'registry on fire';
    await expect.poll(() => reader.refreshes).toBeGreaterThan(5);
    reader.faults.refreshError = 'registry flooded';
    const before = reader.refreshes;
    await expect.poll(() => reader.refreshes).toBeGreaterThan(before + 3);
    delete reader.faults.refreshError;
    const types = (): string[] => events.map(({ type }) => type).filter((type) => type.startsWith('refresh'));
    await expect.poll(types).toEqual(['refresh-failed', 'refresh-failed', 'refreshed']);
  });
});
