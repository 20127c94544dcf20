import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { narUrl } from '../../../src/cache-index/entry.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import { hashFromBytes } from '../../../src/nix/hash.ts';
import type { ServerEvent, ServerOptions } from '../../../src/serve/node/server.ts';
import { startServer } from '../../../src/serve/node/server.ts';
import { parseTokens, Tokens } from '../../../src/serve/tokens.ts';
import { PROMPT } from '../../../src/upstream/patience.ts';
import { Upstream } from '../../../src/upstream/upstream.ts';
import { parseUpstream } from '../../../src/upstream/upstream-cache.ts';
import { noise, turns } from '../../support/bytes.ts';
import { addPath, startFakeUpstream } from '../../support/fake-upstream.ts';
import { MemoryCacheReader, type MemoryFaults } from '../../support/memory-cache-reader.ts';
import { baseName, hashPart } from '../set-up.ts';
import { rawClient, request } from './raw-client.ts';

const NAR = noise(3_000_000, 9);
const fileHashOf = (bytes: Buffer) => hashFromBytes(createHash('sha256').update(bytes).digest());
/** Nothing that takes as long comes while a test lasts. */
const FOR_EVER_MS = 1e9;
/** Only so as not to wait for ever. */
const DEADLINE = { timeout: 30_000 };

async function start(options: Partial<ServerOptions> = {}, reader = new MemoryCacheReader()) {
  const events: ServerEvent[] = [];
  const server = await startServer({
    reader,
    port: 0,
    drainMs: 2000,
    onEvent: (event) => events.push(event),
    ...options,
  });
  onTestFinished(() => server.close());
  return {
    server,
    reader,
    events,
    port: server.port,
    get: (path: string, init?: RequestInit) => fetch(server.url + path, init),
  };
}

describe('a connection', () => {
  it('serves one request after the other, HEAD without a body among them', async () => {
    const { port, reader } = await start();
    reader.add({ baseName: baseName(1), nar: NAR });
    const path = `/${hashPart(1)}.narinfo`;
    const client = await rawClient(port);
    const ends = (count: number) => (text: string) => text.split('HTTP/1.1 ').length > count;
    client.send(request(path, 'HEAD'));
    const head = await client.until((text) => text.endsWith('\r\n\r\n'));
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    const length = Number(/Content-Length: ([0-9]+)/.exec(head)?.[1]);
    client.send(request(path));
    const both = await client.until((text) => ends(2)(text) && text.length >= 2 * head.length + length);
    const plain = (text: string): string => text.replaceAll(/(?:Date|X-Request-Id): .*/g, '');
    expect(plain(both.slice(head.length))).toBe(`${plain(head)}${reader.findNarInfoText(hashPart(1))}`);
    client.send(request('/health'));
    expect(await client.until(ends(3))).toContain('HTTP/1.1 200 OK');
    client.socket.destroy();
  });

  it('answers pipelined requests in order, slow ones first', async () => {
    const { port, reader } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(1000, 1) });
    reader.faults.openDelayMs = 50;
    const client = await rawClient(port);
    client.send(request(`/${narInfo.url}`) + request('/nothing') + request('/health'));
    const text = await client.until((text) => text.endsWith('ok\n'));
    expect([...text.matchAll(/HTTP\/1\.1 ([0-9]{3})/g)].map(([, status]) => status)).toEqual(['200', '404', '200']);
    client.socket.destroy();
  });

  it.each([
    ['GET http://me:password@cache/health HTTP/1.1', '200'],
    ['GET http://@/health HTTP/1.1', '200'],
    ['GET http://[/health HTTP/1.1', '200'],
    ['GET http://a:99999/health HTTP/1.1', '200'],
    ['GET https://cache:443/health?x#y HTTP/1.1', '200'],
    ['GET http:///health HTTP/1.1', '200'],
    ['GET //health HTTP/1.1', '404'],
    ['GET http://cache HTTP/1.1', '404'],
    ['GET health HTTP/1.1', '400'],
    ['OPTIONS * HTTP/1.1', '404'],
    ['GET /%ff HTTP/1.1', '404'],
    ['GET /\u00e9 HTTP/1.1', '4'],
    ['GET /health HTTP/1.1\r\nX: \u00e9\u00ff', '200'],
    ['GET /nar/http://me:pw@x HTTP/1.1', '404'],
    ['TRACE /health HTTP/1.1', '405'],
    ['QUERY /health HTTP/1.1', '405'],
  ])('that begins with %j gets %s, and the next one is served', async (line, status) => {
    const { port } = await start();
    const client = await rawClient(port);
    client.socket.write(Buffer.from(`${line}\r\nHost: x\r\n\r\n`, 'latin1'));
    expect(await client.until((text) => text.includes('\r\n\r\n'))).toContain(`HTTP/1.1 ${status}`);
    client.socket.destroy();
    const next = await rawClient(port);
    next.send(request('/health'));
    expect(await next.until((text) => text.endsWith('ok\n'))).toContain('HTTP/1.1 200 OK');
    next.socket.destroy();
  });

  it('whose client has closed its half is still answered', async () => {
    const { port } = await start();
    const client = await rawClient(port, { allowHalfOpen: true });
    client.send(request('/health', 'GET', 'Connection: close'));
    client.socket.end();
    expect(await client.until((text) => text.endsWith('ok\n'))).toContain('200 OK');
    expect(await client.closed()).toBe('end');
  });

  it('is closed after a request that brought a body, which is not taken for a request', async () => {
    const { port, reader } = await start();
    const smuggled = request('/health');
    for (const [method, status] of [
      ['GET', 200],
      ['PUT', 405],
    ] as const) {
      const client = await rawClient(port);
      client.send(request('/nix-cache-info', method, `Content-Length: ${smuggled.length}`) + smuggled);
      await client.closed();
      const text = client.received().toString();
      expect(text.match(/HTTP\/1\.1 [0-9]+/g)).toEqual([`HTTP/1.1 ${status}`]);
    }
    expect(reader.lookUps).toBe(0);
  });

  it('is not asked to send the body of an upload that will be refused', async () => {
    const { port } = await start();
    const client = await rawClient(port);
    client.send(request(`/${hashPart(1)}.narinfo`, 'PUT', 'Content-Length: 100', 'Expect: 100-continue'));
    const text = await client.until((text) => text.endsWith('\n'));
    expect(text).toMatch(/^HTTP\/1\.1 405 /);
    expect(await client.closed()).toBe('end');
  });

  it('with what is not HTTP is refused', async () => {
    const { port } = await start();
    const client = await rawClient(port);
    client.send('SSH-2.0-OpenSSH_9.2\r\n\r\n');
    await client.closed();
    expect(client.received().toString()).toMatch(/^HTTP\/1\.1 400 /);
  });
});

it.each([
  ['GET', '/nar/../nix-cache-info'],
  ['GET', '/%2e%2e/nix-cache-info'],
  ['GET', '/.\\nix-cache-info'],
  ['GET', '/%zz'],
  ['TRACE', '/nothing'],
])('%s %s is 404 as it is written, whatever a URL would make of it', async (method, path) => {
  const { port } = await start();
  const client = await rawClient(port);
  client.send(request(path, method));
  expect(await client.until((text) => text.endsWith('Not Found\n'))).toMatch(/^HTTP\/1\.1 404 /);
  client.socket.destroy();
});

describe('a NAR on the wire', () => {
  it('is whole, or a part', async () => {
    const { reader, get } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    const whole = await get(`/${narInfo.url}`);
    expect(whole.headers.get('content-length')).toBe(String(NAR.length));
    expect(Buffer.from(await whole.arrayBuffer()).equals(NAR)).toBe(true);
    const part = await get(`/${narInfo.url}`, { headers: { Range: 'bytes=1000000-2999999' } });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer()).equals(NAR.subarray(1_000_000))).toBe(true);
  });

  it.each([
    ['breaks off', { breakOffAfter: 1_000_000 }],
    ['ends early as if it were whole', { endAfter: 1_000_000 }],
    ['ends before its first byte', { endAfter: 0 }],
  ])('that %s is an error to the client', async (_what, faults: MemoryFaults) => {
    const { reader, port, events } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    Object.assign(reader.faults, faults);
    const client = await rawClient(port);
    client.send(request(`/${narInfo.url}`));
    await client.closed();
    const text = client.received().toString('latin1');
    expect(text.length).toBeLessThan(NAR.length);
    if (faults.endAfter !== 0) expect(text).toContain(`Content-Length: ${NAR.length}\r\n`);
    expect(events.map(({ type }) => type)).toContain('answer-failed');
  });

  it('that breaks off without a length ends without its last chunk', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR, url: 'nar/x.nar', terse: true });
    const narInfo = String(far.files.get(`/${hashPart(1)}.narinfo`)).replace('Compression: none', 'Compression: zstd');
    far.files.set(`/${hashPart(1)}.narinfo`, narInfo);
    const packed = zstdCompressSync(NAR);
    far.files.set('/nar/x.nar', packed);
    const http = new HttpClient();
    onTestFinished(() => http.destroy());
    const upstream = new Upstream(parseUpstream(far.url), { http, patience: PROMPT });
    const { get, port } = await start({ upstreams: [upstream] });
    const url = /^URL: (.*)$/m.exec(await (await get(`/${hashPart(1)}.narinfo`)).text())?.[1];
    Object.assign(far.faults, { noLength: true, noHead: true });
    const whole = await get(`/${url}`);
    expect(Buffer.from(await whole.arrayBuffer()).equals(packed)).toBe(true);
    far.faults.breakOffAfter = 1_000_000;
    const client = await rawClient(port);
    client.send(request(`/${url}`));
    await client.closed();
    const text = client.received().toString('latin1');
    expect(text).toContain('Transfer-Encoding: chunked');
    expect(text.endsWith('\r\n0\r\n\r\n')).toBe(false);
  });

  it('that cannot be opened is a miss, and the connection goes on', async () => {
    const { reader, port } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    reader.faults.unreachable = true;
    const client = await rawClient(port);
    client.send(request(`/${narInfo.url}`));
    const miss = await client.until((text) => text.endsWith('Not Found\n'));
    expect(miss).toMatch(/^HTTP\/1\.1 404 /);
    expect(miss).toContain('no-store');
    client.send(request('/health'));
    await client.until((text) => text.endsWith('ok\n'));
    client.socket.destroy();
  });

  it('is no longer fetched when its client leaves', async () => {
    const { reader, port, events } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    reader.faults.stallAfter = 1000;
    const client = await rawClient(port);
    client.send(request(`/${narInfo.url}`));
    await client.until((text) => text.length > 1000);
    client.socket.destroy();
    await expect.poll(() => reader.opened[0]?.stream.destroyed).toBe(true);
    expect(events.map(({ type }) => type)).not.toContain('answer-failed');
  });

  it('is not fetched at all when its client leaves before it is opened', async () => {
    const { reader, port } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    reader.faults.openDelayMs = FOR_EVER_MS;
    const client = await rawClient(port);
    client.send(request(`/${narInfo.url}`));
    await expect.poll(() => reader.opening, DEADLINE).toBe(1);
    client.socket.destroy();
    await expect.poll(() => reader.opening, DEADLINE).toBe(0);
    expect(reader.opened).toEqual([]);
  });

  it('is read no faster than its client takes it', async () => {
    const { reader, port } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: Buffer.alloc(30_000_000, 5) });
    const client = await rawClient(port);
    client.socket.pause();
    client.send(request(`/${narInfo.url}`));
    await expect.poll(() => reader.opened.length, DEADLINE).toBe(1);
    await turns(5000);
    expect(reader.opened[0]?.stream.readableEnded).toBe(false);
    client.socket.destroy();
  });
});

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

describe('closing', () => {
  it('lets running requests end, and closes idle connections at once', async () => {
    const { server, reader, port } = await start({ drainMs: 60_000 });
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    const gate = Promise.withResolvers<void>();
    reader.faults.openAfter = gate.promise;
    const [fresh, idle, busy] = [await rawClient(port), await rawClient(port), await rawClient(port)];
    idle.send(request('/health'));
    await idle.until((text) => text.endsWith('ok\n'));
    busy.send(request(`/${narInfo.url}`));
    await expect.poll(() => reader.opening, DEADLINE).toBe(1);
    const closed = server.close();
    await Promise.all([fresh.closed(), idle.closed()]);
    expect(busy.received()).toHaveLength(0);
    gate.resolve();
    await expect(fetch(server.url)).rejects.toThrow();
    await closed;
    await busy.closed();
    expect(busy.received().subarray(-NAR.length).equals(NAR)).toBe(true);
  });

  it('cuts off what does not end in time', async () => {
    const { server, reader, port } = await start({ drainMs: 100 });
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    reader.faults.stallAfter = 1000;
    const client = await rawClient(port);
    client.send(request(`/${narInfo.url}`));
    await client.until((text) => text.length > 1000);
    await Promise.all([server.close(), server.close()]);
    await expect.poll(() => reader.opened[0]?.stream.destroyed).toBe(true);
  });
});

it('a port that is taken is an error of usage', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void other.close());
  const address = other.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  await expect(startServer({ reader: new MemoryCacheReader(), port })).rejects.toMatchObject({
    code: 'ERR_USAGE',
    message: expect.stringContaining(`port ${port}`),
  });
});

describe('a request', () => {
  it('is reported when that is wanted, with its id, its client and the name of its token', async () => {
    const tokens = new Tokens(parseTokens('laptop read t', { name: 'x', scopes: [] }));
    const { get, events } = await start({ logRequests: true, access: { tokens, isPrivate: true } });
    const answer = await get(`/${hashPart(1)}.narinfo`, { headers: { authorization: 'Bearer t' } });
    await answer.text();
    await expect
      .poll(() => events.at(-1))
      .toMatchObject({
        ...{ type: 'request', method: 'GET', path: `/${hashPart(1)}.narinfo`, status: 404, complete: true },
        ...{ id: answer.headers.get('x-request-id'), client: '127.0.0.1', token: 'laptop', bytes: expect.any(Number) },
      });
    await (await get('/nix-cache-info')).text();
    await expect.poll(() => events.at(-1)).toMatchObject({ status: 401, token: undefined });
    expect(JSON.stringify(events)).not.toContain('Bearer');
  });

  it('has an id of its own, or that of its client where it is none to fear', async () => {
    const { get, reader } = await start();
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    for (const path of [`/${hashPart(1)}.narinfo`, '/nowhere', '/_status']) {
      const idOf = async (sent?: string): Promise<string> => {
        const headers = sent === undefined ? {} : { 'x-request-id': sent };
        return (await get(path, { headers })).headers.get('x-request-id') ?? '';
      };
      const ids = [
        await idOf(),
        await idOf(),
        await idOf('a b'),
        await idOf('x'.repeat(65)),
        await idOf('"'),
        await idOf(''),
      ];
      expect(new Set(ids).size).toBe(6);
      for (const id of ids) expect(id).toMatch(/^[0-9a-f]{10}-[0-9a-z]+$/);
      expect(await idOf('0191F3B2-4c7e-7d9a.b_c')).toBe('0191F3B2-4c7e-7d9a.b_c');
    }
  });
});

it('a monitor reads what went on, in the form of Prometheus', async () => {
  const measure = { name: 'spool_bytes', help: 'Waits.', type: 'gauge', read: () => 7 } as const;
  const odd = { ...measure, name: 'odd', read: () => [{ labels: { name: 'a"b\\c\nd' }, value: 1 }] } as const;
  const { get, reader, server } = await start({ version: '1.2', measures: [measure, odd] });
  reader.add({ baseName: baseName(1), nar: noise(100, 1) });
  const path = `/${hashPart(1)}.narinfo`;
  const sent = (await (await get(path)).text()).length;
  for (const other of [path, '/nowhere', '/nowhere.ls']) await (await get(other)).text();
  await (await get('/nar/x', { method: 'DELETE' })).text();
  await (await get('/metrics')).text();
  server.reload({ version: '1.3' });
  const answer = await get('/metrics');
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  const text = await answer.text();
  for (const line of [
    '# TYPE nixcache_http_requests_total counter',
    'nixcache_http_requests_total{route="narinfo",method="GET",status="200"} 2',
    'nixcache_http_requests_total{route="other",method="GET",status="404"} 1',
    'nixcache_http_requests_total{route="nar",method="other",status="404"} 1',
    '# TYPE nixcache_http_request_duration_seconds histogram',
    'nixcache_http_request_duration_seconds_bucket{route="narinfo",le="+Inf"} 2',
    'nixcache_http_request_duration_seconds_count{route="narinfo"} 2',
    'nixcache_narinfo_lookups_total{result="hit"} 2',
    'nixcache_build_info{version="1.3"} 1',
    'nixcache_index_entries 1',
    'nixcache_index_refreshes_total{result="failed"} 0',
    'nixcache_dropped_connections_total 0',
    'nixcache_spool_bytes 7',
    'nixcache_odd{name="a\\"b\\\\c\\nd"} 1',
  ]) {
    expect(text.split('\n')).toContain(line);
  }
  expect(Number(/^nixcache_http_response_bytes_total\{route="narinfo"\} (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(
    2 * sent,
  );
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
});

describe('several caches', () => {
  const access = (token: string) => ({
    tokens: new Tokens(parseTokens(`holder read,admin ${token}`, { name: 'x', scopes: [] })),
    isPrivate: true,
  });
  const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

  it('are told apart by the beginning of the path, each with its own paths and tokens', async () => {
    const [a, nested] = [new MemoryCacheReader(), new MemoryCacheReader()];
    const others = [
      { prefix: '/a', reader: a, access: access('t-a'), priority: 11 },
      { prefix: '/a/nested', reader: nested, priority: 12 },
    ];
    const { get, reader, port } = await start({ others, prefix: '/first', priority: 10, logRequests: true });
    for (const [seed, each] of [reader, a, nested].entries())
      each.add({ baseName: baseName(seed), nar: noise(2_000_000, seed) });
    const priorityAt = async (path: string, init?: RequestInit): Promise<string | undefined> =>
      /Priority: (\d+)/.exec(await (await get(`${path}/nix-cache-info`, init)).text())?.[1];
    expect([await priorityAt(''), await priorityAt('/first'), await priorityAt('/a/nested')]).toEqual([
      '10',
      '10',
      '12',
    ]);
    expect([await priorityAt('/a'), await priorityAt('/a', as('t-a')), await priorityAt('/ab')]).toEqual([
      undefined,
      '11',
      undefined,
    ]);

    const statusOf = async (path: string, init?: RequestInit): Promise<number> => (await get(path, init)).status;
    expect(await statusOf(`/a/${hashPart(1)}.narinfo`)).toBe(401);
    expect(await statusOf(`/a/${hashPart(1)}.narinfo`, as('t-a'))).toBe(200);
    expect(await statusOf(`/a/${hashPart(0)}.narinfo`, as('t-a'))).toBe(404);
    expect(await statusOf(`/${hashPart(1)}.narinfo`, as('t-a'))).toBe(404);
    expect(await statusOf(`/first/${hashPart(0)}.narinfo`)).toBe(200);
    expect(await statusOf(`/%61/${hashPart(1)}.narinfo`)).toBe(404);
    expect(await statusOf('/a/metrics', as('t-a'))).toBe(404);
    expect(await statusOf('/a')).toBe(404);
    const url = /URL: (.*)/.exec(await (await get(`/a/nested/${hashPart(2)}.narinfo`)).text())?.[1];
    expect((await (await get(`/a/nested/${url}`)).arrayBuffer()).byteLength).toBe(2_000_000);

    const client = await rawClient(port);
    for (const target of [
      `http://x/a/${hashPart(1)}.narinfo`,
      `/a/../${hashPart(0)}.narinfo`,
      `/a//${hashPart(1)}.narinfo`,
    ])
      client.send(request(target));
    const text = await client.until((text) => text.split('HTTP/1.1 ').length > 3);
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(['401', '401', '401']);
    client.socket.destroy();
  });

  it('are reported, measured and told anew each for itself', async () => {
    const a = new MemoryCacheReader();
    const { get, server, events } = await start({
      logRequests: true,
      others: [{ prefix: '/a', reader: a, access: access('t') }],
    });
    a.add({ baseName: baseName(1), nar: noise(100, 1) });
    await (await get(`/a/${hashPart(1)}.narinfo`, as('t'))).text();
    await expect.poll(() => events.at(-1)).toMatchObject({ path: `/a/${hashPart(1)}.narinfo`, token: 'holder' });
    const text = await (await get('/metrics')).text();
    expect(text).toContain('nixcache_narinfo_lookups_total{cache="/a",result="hit"} 1');
    expect(text).toContain('nixcache_narinfo_lookups_total{cache="/",result="hit"} 0');
    expect(text).toContain('nixcache_http_requests_total{route="narinfo",method="GET",status="200"} 1');
    server.reload(undefined, [{ access: access('new') }]);
    expect((await get('/a/nix-cache-info', as('t'))).status).toBe(401);
    server.reload();
    expect((await get('/a/nix-cache-info', as('new'))).status).toBe(200);
  });
});
