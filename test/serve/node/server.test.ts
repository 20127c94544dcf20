import { createServer } from 'node:net';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../../src/http/node/client.ts';
import { startServer } from '../../../src/serve/node/server.ts';
import { PROMPT } from '../../../src/upstream/patience.ts';
import { Upstream } from '../../../src/upstream/upstream.ts';
import { parseUpstream } from '../../../src/upstream/upstream-cache.ts';
import { noise, turns } from '../../support/bytes.ts';
import { addPath, startFakeUpstream } from '../../support/fake-upstream.ts';
import { MemoryCacheReader, type MemoryFaults } from '../../support/memory-cache-reader.ts';
import { baseName, hashPart } from '../set-up.ts';
import { rawClient, request } from './raw-client.ts';
import { start } from './start.ts';

const NAR = noise(3_000_000, 9);
/** Nothing that takes as long comes while a test lasts. */
const FOR_EVER_MS = 1e9;
/** Only so as not to wait for ever. */
const DEADLINE = { timeout: 30_000 };

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
