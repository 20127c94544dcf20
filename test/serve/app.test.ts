import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { parseNarInfo } from '../../src/nix/nar-info.ts';
import { noise } from '../support/bytes.ts';
import { baseName, bodyOf, hashPart, headerOf, newKey, setUpApp } from './set-up.ts';

const KEY = newKey('test-1');

const LISTING = '{"version":1,"root":{"type":"directory","entries":{}}}';

describe('nix-cache-info', () => {
  it('says what this cache is, also when it is empty', async () => {
    const reply = await setUpApp({ priority: 7 }).ask('/nix-cache-info');
    expect(reply.status).toBe(200);
    expect(String(reply.body)).toBe('StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 7\n');
  });

  it('comes before cache.nixos.org unless told otherwise', async () => {
    expect(String((await setUpApp().ask('/nix-cache-info')).body)).toContain('Priority: 30\n');
  });
});

describe('a narinfo', () => {
  it('comes from the cache, with what caches need to know', async () => {
    const { reader, ask, app } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(100, 1), keys: [KEY] });
    for (let i = 0; i < 2; i++) {
      const reply = await ask(`/${hashPart(1)}.narinfo`);
      expect(reply.status).toBe(200);
      expect(parseNarInfo(String(reply.body))).toEqual(narInfo);
      expect(headerOf(reply, 'content-type')).toBe('text/x-nix-narinfo');
      expect(headerOf(reply, 'content-length')).toBe(String(String(reply.body).length));
      expect(headerOf(reply, 'etag')).toMatch(/^"[^"]+"$/);
      expect(headerOf(reply, 'cache-control')).not.toContain('no-store');
    }
    expect(app.counters).toMatchObject({ narInfoHits: 2, narInfoMisses: 0 });
  });

  it('is looked up once, until the index changes', async () => {
    const { reader, ask, app } = setUpApp();
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    await app.refresher.refresh();
    const before = String((await ask(`/${hashPart(1)}.narinfo`)).body);
    reader.add({ baseName: baseName(1), nar: noise(100, 1), keys: [KEY] });
    const { lookUps } = reader;
    expect(String((await ask(`/${hashPart(1)}.narinfo`)).body)).toBe(before);
    expect(reader.lookUps).toBe(lookUps);
    await app.refresher.refresh();
    expect(String((await ask(`/${hashPart(1)}.narinfo`)).body)).toContain('Sig: test-1:');
  });

  it('that is absent is 404 and not kept by anyone', async () => {
    const { ask, app } = setUpApp();
    const reply = await ask(`/${hashPart(1)}.narinfo`);
    expect(reply.status).toBe(404);
    expect(headerOf(reply, 'cache-control')).toBe('no-store');
    expect(app.counters).toMatchObject({ narInfoHits: 0, narInfoMisses: 1 });
  });

  it('is a miss, not a server error, when the index cannot be read', async () => {
    const { reader, ask, events } = setUpApp();
    reader.faults.lookUpError = 'disk on fire';
    expect((await ask(`/${hashPart(1)}.narinfo`)).status).toBe(404);
    expect(events).toEqual([expect.objectContaining({ type: 'answer-failed', error: 'disk on fire' })]);
  });

  it.each([
    '/x.narinfo',
    `/${'e'.repeat(32)}.narinfo`,
    `/${'0'.repeat(31)}.narinfo`,
    `/${'0'.repeat(33)}.narinfo`,
    `/a/${'0'.repeat(32)}.narinfo`,
    `/${'0'.repeat(32)}.narinfo/`,
    `/${'0'.repeat(32)}.NARINFO`,
    `/${'0'.repeat(31)}\n.narinfo`,
    `//${'0'.repeat(32)}.narinfo`,
    `/nar/${'0'.repeat(51)}.nar`,
    `/nar/${'9'.repeat(52)}.nar`,
    `/nar/${'0'.repeat(52)}.nar.a/b`,
    '/nar/',
    '/nar/u/000000000000/eA',
    '/nar/../x',
    '/%2e%2e/etc/passwd',
    '/%zz',
    '/%ff',
    '/%00',
    '\\',
    '*',
    '',
    'http://other/nothing',
  ])('or anything else with a malformed name (%s) is 404 without a look-up', async (url) => {
    const { reader, ask } = setUpApp();
    expect((await ask(url)).status).toBe(404);
    expect(reader.lookUps).toBe(0);
  });

  it('may be asked for in any spelling of its URL', async () => {
    const { reader, ask } = setUpApp();
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    const encoded = `/%${hashPart(1).charCodeAt(0).toString(16)}${hashPart(1).slice(1)}%2Enarinfo`;
    for (const url of [encoded, `/${hashPart(1)}.narinfo?x=1`, `http://proxied.example/${hashPart(1)}.narinfo`]) {
      expect((await ask(url)).status).toBe(200);
    }
    expect((await ask(encoded.replaceAll('%', '%25'))).status).toBe(404);
  });
});

describe('a NAR', () => {
  it('is streamed from the cache, under its content-addressed name', async () => {
    const { reader, ask, app } = setUpApp();
    const nar = noise(200_000, 1);
    const { narInfo } = reader.add({ baseName: baseName(1), nar });
    const reply = await ask(`/${narInfo.url}`);
    expect(reply.status).toBe(200);
    expect(headerOf(reply, 'content-length')).toBe('200000');
    expect(headerOf(reply, 'accept-ranges')).toBe('bytes');
    expect(headerOf(reply, 'cache-control')).toBe('public, max-age=31536000, immutable');
    expect(await bodyOf(reply.body)).toEqual(nar);
    expect(app.counters.narHits).toBe(1);
  });

  it('is not opened for a HEAD, a 304 or a 416', async () => {
    const { reader, ask } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(1000, 1) });
    const url = `/${narInfo.url}`;
    const etag = headerOf(await ask(url, { method: 'HEAD' }), 'etag') ?? '';
    expect((await ask(url, { 'If-None-Match': etag })).status).toBe(304);
    const outside = await ask(url, { Range: 'bytes=1000-' });
    expect(outside.status).toBe(416);
    expect(headerOf(outside, 'content-range')).toBe('bytes */1000');
    expect(reader.opened).toEqual([]);
  });

  it.each(['bytes=0-9', 'bytes=1000-'])('is described whole by a HEAD, whatever range it names: %s', async (range) => {
    const { reader, ask } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(1000, 1) });
    for (const url of [`/${narInfo.url}`, `/${hashPart(1)}.narinfo`, '/nix-cache-info']) {
      const [plain, ranged] = [await ask(url, { method: 'HEAD' }), await ask(url, { method: 'HEAD', Range: range })];
      expect(ranged.status).toBe(200);
      expect([...ranged.headers]).toEqual([...plain.headers]);
      expect(headerOf(ranged, 'content-range')).toBeUndefined();
    }
  });

  it('is given in ranges, a small one out of the whole, which was checked', async () => {
    const { reader, ask } = setUpApp();
    const nar = noise(1000, 1);
    const { narInfo } = reader.add({ baseName: baseName(1), nar });
    const reply = await ask(`/${narInfo.url}`, { Range: 'bytes=-100' });
    expect(reply.status).toBe(206);
    expect(headerOf(reply, 'content-range')).toBe('bytes 900-999/1000');
    expect(headerOf(reply, 'content-length')).toBe('100');
    expect(await bodyOf(reply.body)).toEqual(nar.subarray(900));
    expect(reader.opened.map(({ range }) => range)).toEqual([undefined]);
  });

  it.each(['.nar', '.nar.xz', '.nar.none'])('is not there as *%s when it is zstd', async (extension) => {
    const { reader, ask } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(100, 1), compression: 'zstd' });
    expect((await ask(`/${narInfo.url}`)).status).toBe(200);
    const reply = await ask(`/${narInfo.url.replace('.nar.zst', extension)}`);
    expect(reply.status).toBe(404);
    expect(headerOf(reply, 'cache-control')).toBe('no-store');
  });
});

describe('conditions', () => {
  const url = '/nix-cache-info';
  it.each([
    ['its own tag', (etag: string) => etag, 304],
    ['a list with it', (etag: string) => `"x", ${etag}`, 304],
    ['its weak form', (etag: string) => `W/${etag}`, 304],
    ['anything', () => '*', 304],
    ['another tag', () => '"x"', 200],
  ])('If-None-Match with %s', async (_what, header, status) => {
    const { ask } = setUpApp();
    const etag = headerOf(await ask(url), 'etag') ?? '';
    const reply = await ask(url, { 'if-NONE-match': header(etag) });
    expect(reply.status).toBe(status);
    expect(headerOf(reply, 'etag')).toBe(etag);
    expect((await bodyOf(reply.body)).length > 0).toBe(status === 200);
  });

  it.each([
    ['its own tag', (etag: string) => etag, 206],
    ['another tag', () => '"x"', 200],
    ['a weak tag', (etag: string) => `W/${etag}`, 200],
    ['a date', () => 'Fri, 20 Nov 2026 12:00:00 GMT', 200],
  ])('If-Range with %s', async (_what, header, status) => {
    const { ask } = setUpApp();
    const etag = headerOf(await ask(url), 'etag') ?? '';
    const reply = await ask(url, { Range: 'bytes=0-7', 'If-Range': header(etag) });
    expect(reply.status).toBe(status);
    expect(String(reply.body).startsWith('StoreDir')).toBe(true);
    expect(headerOf(reply, 'content-length')).toBe(String(String(reply.body).length));
  });
});

describe('methods', () => {
  it.each([
    ['/nix-cache-info', 'PUT', 'GET, HEAD'],
    [`/${'0'.repeat(32)}.narinfo`, 'PUT', 'GET, HEAD'],
    [`/nar/${'0'.repeat(52)}.nar`, 'DELETE', 'GET, HEAD'],
    ['/_status', 'POST', 'GET, HEAD'],
    ['/_refresh', 'GET', 'POST'],
    ['/_refresh', 'HEAD', 'POST'],
  ])('%s does not take %s', async (url, method, allow) => {
    const { ask, reader } = setUpApp();
    const reply = await ask(url, { method });
    expect(reply.status).toBe(405);
    expect(headerOf(reply, 'allow')).toBe(allow);
    expect(reader.refreshes + reader.lookUps).toBe(0);
  });

  it('that we do not know do not make a path exist', async () => {
    expect((await setUpApp().ask('/nothing', { method: 'PUT' })).status).toBe(404);
  });
});

describe('a listing', () => {
  it('is there where it was published', async () => {
    const { reader, ask } = setUpApp();
    reader.add({ baseName: baseName(1), nar: noise(100, 1), listing: LISTING });
    reader.add({ baseName: baseName(2), nar: noise(100, 2) });
    const reply = await ask(`/${hashPart(1)}.ls`);
    expect(headerOf(reply, 'content-type')).toBe('application/json');
    expect(JSON.parse(String(reply.body))).toEqual({ version: 1, root: { type: 'directory', entries: {} } });
    expect((await ask(`/${hashPart(2)}.ls`)).status).toBe(404);
    reader.faults.unreachable = true;
    expect((await ask(`/${hashPart(1)}.ls`)).status).toBe(404);
  });
});

describe('the state of things', () => {
  it('is told as JSON', async () => {
    let now = new Date('2026-11-20T12:00:00Z');
    const { reader, ask, app } = setUpApp({ version: '1.2.3', now: () => now });
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    expect(JSON.parse(String((await ask('/_status')).body))).toMatchObject({
      index: { state: 'outdated', refreshedAt: null },
    });
    await app.refresher.refresh();
    await ask(`/${hashPart(1)}.narinfo`);
    await ask(`/${hashPart(2)}.narinfo`);
    now = new Date('2026-11-20T12:01:30Z');
    const reply = await ask('/_status');
    expect(headerOf(reply, 'cache-control')).toBe('no-store');
    expect(JSON.parse(String(reply.body))).toMatchObject({
      version: '1.2.3',
      uptimeSeconds: 90,
      cache: 'memory:test',
      entries: 1,
      segments: 1,
      index: { generation: 1, lastError: null, ageSeconds: expect.any(Number) },
      upstreams: [],
      counters: { narInfoHits: 1, narInfoMisses: 1 },
    });
  });

  it('is well once an index was seen, whatever fails then', async () => {
    const { app, reader, ask } = setUpApp();
    Object.assign(reader.faults, { refreshError: 'down' });
    await app.refresher.refresh().catch(() => {});
    const reply = await ask('/health');
    expect([reply.status, String(reply.body), headerOf(reply, 'cache-control')]).toEqual([
      503,
      'no index yet\n',
      'no-store',
    ]);
    expect((await ask('/_status')).status).toBe(200);
    Object.assign(reader.faults, { refreshError: undefined });
    await app.refresher.refresh(); // and there is nothing in it
    Object.assign(reader.faults, { unreachable: true, refreshError: 'down', lookUpError: 'down' });
    await app.refresher.refresh().catch(() => {});
    expect((await ask('/health')).status).toBe(200);
    expect(app.counters).toMatchObject({ refreshes: 1, refreshFailures: 2 });
  });
});

describe('a refresh on demand', () => {
  it('says what it brought, and what went wrong', async () => {
    const { reader, ask } = setUpApp();
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    const good = await ask('/_refresh', { method: 'POST' });
    expect(good.status).toBe(200);
    expect(JSON.parse(String(good.body))).toMatchObject({ refreshed: true, changed: true, addedSegments: 1 });
    reader.faults.refreshError = 'registry on fire';
    const bad = await ask('/_refresh', { method: 'POST' });
    expect(bad.status).toBe(502);
    expect(JSON.parse(String(bad.body))).toEqual({ refreshed: false, error: 'registry on fire' });
  });

  it('is shared by all who ask meanwhile, and holds up no one else', async () => {
    const { reader, ask } = setUpApp();
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    reader.faults.refreshDelayMs = 100;
    let isOver = false;
    const both = Promise.all([1, 2].map(() => ask('/_refresh', { method: 'POST' }))).then(() => (isOver = true));
    expect((await ask(`/${hashPart(1)}.narinfo`)).status).toBe(200);
    expect(isOver).toBe(false);
    await both;
    expect(reader.refreshes).toBe(1);
  });
});

test('no request makes a server error', async () => {
  const { reader, ask } = setUpApp();
  reader.add({ baseName: baseName(1), nar: noise(100, 1) });
  const piece = fc.constantFrom(
    '/',
    '.',
    '..',
    '%',
    '%2e',
    '%2F',
    '\0',
    '\\',
    'nar',
    '.nar',
    '.narinfo',
    '.ls',
    '?',
    '#',
    '//',
  );
  const pieces = fc.oneof(piece, fc.constant(hashPart(1)), fc.constant('0'.repeat(52)), fc.string({ unit: 'binary' }));
  const url = fc.oneof(
    fc.array(pieces).map((parts) => `/${parts.join('')}`),
    fc.string({ unit: 'binary' }),
  );
  const method = fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'OPTIONS', 'X');
  const headers = fc.dictionary(
    fc.constantFrom('Range', 'If-Range', 'If-None-Match', 'Content-Length'),
    fc.oneof(fc.string(), fc.stringMatching(/^bytes=[0-9-]*$/)),
  );
  await fc.assert(
    fc.asyncProperty(url, method, headers, async (url, method, headers) => {
      expect((await ask(url, { ...headers, method })).status).toBeLessThan(500);
    }),
    { numRuns: 500 },
  );
});

describe('a POST of a page in somebody’s browser', () => {
  it.each([
    { Origin: 'https://evil.example' },
    { Origin: 'null' },
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
    { Origin: 'http://cache:1234' },
  ])('is refused: %j', async (headers) => {
    const { ask } = setUpApp();
    expect((await ask('http://cache/_refresh', { method: 'POST', Host: 'cache', ...headers })).status).toBe(403);
  });

  it('is allowed from the server’s own origin, and to what is no browser', async () => {
    const { ask } = setUpApp();
    const own = { method: 'POST', Host: 'cache', Origin: 'http://cache', 'Sec-Fetch-Site': 'same-origin' };
    expect((await ask('http://cache/_refresh', own)).status).toBe(200);
    expect((await ask('http://cache/_refresh', { method: 'POST' })).status).toBe(200);
  });
});

it('crawlers are asked not to have every package unpacked', async () => {
  const reply = await setUpApp().ask('/robots.txt');
  expect([reply.status, headerOf(reply, 'content-type')]).toEqual([200, 'text/plain; charset=utf-8']);
  expect(String(reply.body)).toContain('Disallow: /nix/store/\n');
});
