import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/http/clock.ts';
import type { HttpFetch } from '../../src/http/http-fetch.ts';
import { timeoutError } from '../../src/http/network-error.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import type { HashPart } from '../../src/nix/store-path.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream, type UpstreamOptions } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { noise, readAll } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { tempDir } from '../support/temp-dir.ts';

const BASE_NAME = '0c5b8vw40dy178xlpddw65q9gf1h2186-hello-2.12';
const HASH = BASE_NAME.slice(0, 32) as HashPart;
const ABSENT = '1c5b8vw40dy178xlpddw65q9gf1h2186' as HashPart;

function open(url: string, options: Partial<UpstreamOptions> & { timeoutMs?: number } = {}): Upstream {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const { timeoutMs, ...rest } = options;
  const cache = parseUpstream(url);
  return new Upstream(
    { ...cache, timeoutMs: timeoutMs ?? cache.timeoutMs },
    { http, clock: new ManualClock(), ...rest },
  );
}

describe('an upstream over HTTP', () => {
  it('gives a narinfo, parsed', async () => {
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const upstream = open(far.url);
    expect(await upstream.fetchNarInfo(HASH)).toEqual(info);
    expect(await upstream.hasNarInfo(HASH)).toBe(info.path);
    expect(upstream.health()).toMatchObject({ state: 'closed', lastError: undefined, latencyMs: 0 });
    expect(far.requests).toEqual([`GET /${HASH}.narinfo`, `GET /${HASH}.narinfo`]);
  });

  it.each([403, 404, 410])('takes %i for absent, as Nix does', async (status) => {
    const far = await startFakeUpstream();
    far.faults.status = status;
    const upstream = open(far.url);
    expect(await upstream.fetchNarInfo(HASH)).toBeUndefined();
    expect(await upstream.openFile('nar/x.nar')).toBeUndefined();
    expect(await upstream.statFile('nar/x.nar')).toBeUndefined();
    expect(far.requests).toHaveLength(3);
  });

  it.each([400, 401, 302])('takes %i for a failure that trying again does not mend', async (status) => {
    const far = await startFakeUpstream();
    far.faults.status = status;
    await expect(open(far.url).fetchNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
    expect(far.requests).toHaveLength(1);
  });

  it.each([429, 500, 503])('tries again after %i', async (status) => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    Object.assign(far.faults, { status, times: 2 });
    const clock = new ManualClock();
    expect(await open(far.url, { clock }).fetchNarInfo(HASH)).toBeDefined();
    expect(clock.sleeps).toHaveLength(2);
  });

  it('fails with the last error when all attempts failed', async () => {
    const far = await startFakeUpstream();
    far.faults.status = 503;
    await expect(open(far.url).fetchNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_UPSTREAM', status: 503 });
    expect(far.requests).toHaveLength(5);
  });

  it('reports a refused connection as the network', async () => {
    const far = await startFakeUpstream();
    await far.close();
    await expect(open(far.url).fetchNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_NETWORK' });
  });

  it('gives up on an answer that does not come, or does not end', async () => {
    const far = await startFakeUpstream();
    far.faults.hang = true;
    const upstream = open(far.url, { timeoutMs: 50, patience: PROMPT });
    await expect(upstream.fetchNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    expect(far.requests).toHaveLength(1);
    expect(upstream.health().state).toBe('open');
  });

  it('stops at once when the caller does, and thinks no worse of the upstream', async () => {
    const far = await startFakeUpstream();
    far.faults.hang = true;
    const upstream = open(far.url);
    await expect(upstream.fetchNarInfo(HASH, { signal: AbortSignal.timeout(30) })).rejects.toThrow(/timeout/);
    expect(far.requests).toHaveLength(1);
    expect(upstream.health().lastError).toBeUndefined();
  });

  it.each([
    ['is garbage', '<html>Welcome to the hotel</html>\n'],
    ['is empty', ''],
    ['is about another path', (text: string) => text.replace(HASH, ABSENT)],
    ['lies in another store', (text: string) => text.replace('/nix/store', '/gnu/store')],
  ])('refuses a narinfo that %s', async (_what, change) => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const path = `/${HASH}.narinfo`;
    const text = String(far.files.get(path));
    far.files.set(path, typeof change === 'string' ? change : change(text));
    await expect(open(far.url).fetchNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
    await expect(open(far.url).hasNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
  });

  it('asks again for a narinfo that cannot be understood, as Nix does', async () => {
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    far.faults.garbled = 3;
    expect(await open(far.url).fetchNarInfo(HASH)).toEqual(info);
    far.faults.garbled = 3;
    expect(await open(far.url).hasNarInfo(HASH)).toBe(info.path);
    expect(far.requests).toHaveLength(8);
  });

  it('no longer asks again where nothing can be understood, until something is', async () => {
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const upstream = open(far.url);
    far.faults.garbled = Number.POSITIVE_INFINITY;
    const asked = async (): Promise<number> => {
      const before = far.requests.length;
      await expect(upstream.fetchNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
      return far.requests.length - before;
    };
    expect([await asked(), await asked(), await asked(), await asked(), await asked()]).toEqual([5, 5, 5, 1, 1]);
    far.faults.garbled = 0;
    expect(await upstream.fetchNarInfo(HASH)).toEqual(info);
    far.faults.garbled = Number.POSITIVE_INFINITY;
    expect(await asked()).toBe(5);
  });

  it.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ])('reads a narinfo stored with Content-Encoding %s', async (encoding, encode) => {
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const path = `/${HASH}.narinfo`;
    far.files.set(path, encode(Buffer.from(String(far.files.get(path)))));
    far.headers.set(path, { 'content-encoding': encoding });
    expect(await open(far.url).fetchNarInfo(HASH)).toEqual(info);
  });

  it('does not let a narinfo grow in memory when decoded', async () => {
    const far = await startFakeUpstream();
    const path = `/${HASH}.narinfo`;
    far.files.set(path, gzipSync(Buffer.alloc(64 * 1024 * 1024)));
    far.headers.set(path, { 'content-encoding': 'gzip' });
    await expect(open(far.url).fetchNarInfo(HASH)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
  });

  it.each([false, true])('opens a NAR or a part of it (server without ranges: %s)', async (noRanges) => {
    const far = await startFakeUpstream();
    const nar = noise(200_000, 2);
    far.files.set('/nar/x.nar', nar);
    far.faults.noRanges = noRanges;
    const upstream = open(far.url);
    const read = async (range?: { offset: number; length?: number }): Promise<Buffer> => {
      const file = await upstream.openFile('nar/x.nar', { range });
      expect(file?.size).toBe(nar.length);
      return file === undefined ? Buffer.alloc(0) : await readAll(file.body);
    };
    expect(await read()).toEqual(nar);
    expect(await read({ offset: 150_000 })).toEqual(nar.subarray(150_000));
    expect(await read({ offset: 1000, length: 70_000 })).toEqual(nar.subarray(1000, 71_000));
    expect(await upstream.statFile('nar/x.nar')).toMatchObject({ size: nar.length });
  });

  it('refuses a part that is not the one it asked for', async () => {
    const far = await startFakeUpstream();
    far.files.set('/nar/x.nar', noise(1000, 2));
    far.headers.set('/nar/x.nar', { 'content-range': 'bytes 0-899/1000' });
    await expect(open(far.url).openFile('nar/x.nar', { range: { offset: 100 } })).rejects.toMatchObject({
      code: 'ERR_UPSTREAM',
    });
  });

  it('sends the credentials of its URL, and names them nowhere', async () => {
    const far = await startFakeUpstream();
    far.faults.status = 500;
    const upstream = open(far.url.replace('//', '//user:secret@'), { patience: PROMPT });
    const error = await upstream.fetchNarInfo(HASH).catch((error: Error) => error);
    expect(far.authorizations[0]).toBe(`Basic ${Buffer.from('user:secret').toString('base64')}`);
    expect(JSON.stringify([error, String(error), upstream.name, upstream.health()])).not.toContain('secret');
  });

  it('is left alone for a while once it keeps failing', async () => {
    const far = await startFakeUpstream();
    far.faults.status = 500;
    const clock = new ManualClock();
    const states: string[] = [];
    const upstream = open(far.url, { clock, patience: PROMPT, onHealthChange: ({ state }) => states.push(state) });
    for (let i = 0; i < 50; i++) await upstream.fetchNarInfo(HASH).catch(() => {});
    const asked = far.requests.length;
    for (let i = 0; i < 50; i++) await upstream.fetchNarInfo(HASH).catch(() => {});
    expect(far.requests).toHaveLength(asked);
    delete far.faults.status;
    clock.advance(30_000);
    // Whoever comes first has it looked at, beside what is asked.
    await upstream.fetchNarInfo(HASH).catch(() => {});
    await expect.poll(() => states.at(-1)).toBe('closed');
    expect(await upstream.fetchNarInfo(HASH)).toBeUndefined();
  });

  it('that fails for some seconds is waited for, by many at once', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    Object.assign(far.faults, { status: 503, times: 12 });
    const upstream = open(far.url, { patience: PROMPT });
    const found = await Promise.all(Array.from({ length: 6 }, () => upstream.fetchNarInfo(HASH)));
    expect(found.map((each) => each !== undefined)).toEqual(Array.from({ length: 6 }, () => true));
    expect(upstream.health().state).toBe('closed');
  });

  it('asks again when it is told to come again later', async () => {
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const clock = new ManualClock();
    Object.assign(far.faults, { status: 429, times: 1, retryAfter: '10' });
    expect(await open(far.url, { clock, patience: PROMPT }).fetchNarInfo(HASH)).toEqual(info);
    expect(clock.sleeps[0]).toBeGreaterThanOrEqual(10_000);
  });

  it.each([
    ['garbage', (far: FakeUpstream) => void far.files.set(`/${HASH}.narinfo`, '<html>\n')],
    ['what no cache answers', (far: FakeUpstream) => void Object.assign(far.faults, { status: 400 })],
    ['too many requests', (far: FakeUpstream) => void Object.assign(far.faults, { status: 429 })],
  ])('is not left alone for answering %s', async (_what, breakIt) => {
    const far = await startFakeUpstream();
    breakIt(far);
    const upstream = open(far.url, { patience: PROMPT });
    for (let i = 0; i < 10; i++) await expect(upstream.fetchNarInfo(HASH)).rejects.toThrow();
    delete far.faults.status;
    addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    expect(await upstream.fetchNarInfo(HASH)).toBeDefined();
  });

  it('is waited for longer where a NAR was announced, also when it is left alone already', async () => {
    const far = await startFakeUpstream();
    const { url } = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const breaker = { ...PROMPT.breaker, spanMs: 0, openMs: 20, maxOpenMs: 20 };
    const retry = { ...PROMPT.retry, maxDelayMs: 20, deadlineMs: 50 };
    const announced = { attempts: 60, baseDelayMs: 10, maxDelayMs: 20, deadlineMs: 30_000 };
    const upstream = open(far.url, { clock: systemClock, patience: { ...PROMPT, breaker, retry, announced } });
    far.faults.status = 503;
    for (let i = 0; i < 3; i++) await upstream.fetchNarInfo(HASH).catch(() => {});
    expect(upstream.health().state).not.toBe('closed');
    Object.assign(far.faults, { times: 2 });
    const file = await upstream.openFile(url, { isAnnounced: true });
    expect(file && (await readAll(file.body))).toEqual(noise(1000, 1));
  });

  it('is asked once more for an announced NAR to which nothing is answered, and the first answer counts', async () => {
    const far = await startFakeUpstream();
    const { url } = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const upstream = open(far.url, { patience: { ...PROMPT, askAgainMs: 10 } });
    far.faults.onRequest = () => {
      far.faults.hang = far.requests.length === 1;
    };
    const file = await upstream.openFile(url, { isAnnounced: true });
    expect(file && (await readAll(file.body))).toEqual(noise(1000, 1));
    // A third time, where the second was slow as well.
    expect(far.requests.length).toBeGreaterThan(1);
    expect(new Set(far.requests)).toEqual(new Set([`GET /${url}`]));
    await expect.poll(() => far.active()).toBe(0); // the other is not waited for
  });

  it('is not left alone for a NAR to which nothing is answered, as long as it answers anything', async () => {
    const far = await startFakeUpstream();
    const { url } = addPath(far, { baseName: BASE_NAME, nar: noise(1000, 1) });
    const client = new HttpClient();
    onTestFinished(() => client.destroy());
    const http: HttpFetch = {
      request: async (request) => {
        const asked = new URL(request.url);
        if (!asked.pathname.startsWith('/nar/')) return client.request(request);
        throw timeoutError('no answer within 60 s', { method: 'GET', url: asked }, { silent: true });
      },
    };
    const upstream = open(far.url, { http, patience: PROMPT });
    await upstream.fetchNarInfo(HASH);
    await expect(upstream.openFile(url, { isAnnounced: true })).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    expect(upstream.health().state).toBe('closed');
    expect(await upstream.fetchNarInfo(HASH)).toBeDefined();
    // All the same it is looked into whether it is there.
    await expect.poll(() => far.requests.length).toBeGreaterThan(2);
  });

  it('tells how long a file is without HEAD', async () => {
    const far = await startFakeUpstream();
    far.faults.noHead = true;
    far.files.set('/nar/x.nar', noise(1000, 1));
    expect(await open(far.url).statFile('nar/x.nar')).toMatchObject({ size: 1000 });
  });

  it('reads nix-cache-info', async () => {
    const far = await startFakeUpstream();
    expect(await open(far.url).fetchCacheInfo()).toEqual({
      storeDir: '/nix/store',
      wantMassQuery: false,
      priority: 40,
    });
  });
});

describe('an upstream in a directory', () => {
  it('gives narinfos and files, whole and in part, and knows what is absent', async () => {
    const dir = await tempDir();
    const nar = noise(100_000, 3);
    await mkdir(join(dir, 'nar'));
    await writeFile(join(dir, 'nar/x.nar'), nar);
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: BASE_NAME, nar });
    await writeFile(join(dir, `${HASH}.narinfo`), String(far.files.get(`/${HASH}.narinfo`)));
    const upstream = open(`file://${dir}`);
    expect(await upstream.fetchNarInfo(HASH)).toEqual(info);
    expect(await upstream.fetchNarInfo(ABSENT)).toBeUndefined();
    expect(await upstream.openFile('nar')).toBeUndefined();
    expect(await upstream.openFile('../../etc/passwd')).toBeUndefined();
    expect(await upstream.statFile('nar/x.nar')).toMatchObject({ size: 100_000 });
    const part = await upstream.openFile('nar/x.nar', { range: { offset: 10, length: 20 } });
    expect(part && (await readAll(part.body))).toEqual(nar.subarray(10, 30));
    const rest = await upstream.openFile('nar/x.nar', { range: { offset: 99_990 } });
    expect(rest && (await readAll(rest.body))).toEqual(nar.subarray(99_990));
    await expect(upstream.openFile('nar/x.nar', { range: { offset: 99_990, length: 20 } })).rejects.toMatchObject({
      code: 'ERR_RANGE',
    });
  });
});
