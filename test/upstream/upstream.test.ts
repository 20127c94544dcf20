import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import type { HashPart } from '../../src/nix/store-path.ts';
import { PROMPT, Upstream, type UpstreamOptions } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { noise, readAll } from '../support/bytes.ts';
import { addPath, startFakeUpstream } from '../support/fake-upstream.ts';
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
    expect(far.requests).toHaveLength(2);
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

  it('refuses a NAR whose bytes are encoded on the way', async () => {
    const far = await startFakeUpstream();
    far.files.set('/nar/x.nar', gzipSync(noise(10, 1)));
    far.headers.set('/nar/x.nar', { 'content-encoding': 'gzip' });
    await expect(open(far.url).openFile('nar/x.nar')).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
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

  it.each([
    'http://elsewhere.example/x',
    '//elsewhere.example/x',
    '../x',
    'a/../../x',
    '%2e%2e/x',
    'a/..%2f..%2fx',
    'a\\x',
    'file:///etc/passwd',
  ])('asks for nothing outside the cache: %s', async (url) => {
    const far = await startFakeUpstream();
    expect(await open(`${far.url}/sub`).openFile(url)).toBeUndefined();
    expect(far.requests).toEqual([]);
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
    for (let i = 0; i < 5; i++) await upstream.fetchNarInfo(HASH).catch(() => {});
    expect(far.requests).toHaveLength(3);
    delete far.faults.status;
    clock.advance(30_000);
    expect(await upstream.fetchNarInfo(HASH)).toBeUndefined();
    expect(states).toEqual(['open', 'closed']);
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
