/** What many, slow and old clients can do to a server, and to each other. */

import { EventEmitter } from 'node:events';
import { readdirSync } from 'node:fs';
import type { Server } from 'node:http';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { HttpClient } from '../../../src/http/node/client.ts';
import { cutSlowReaders, defaultLimits } from '../../../src/serve/node/limits.ts';
import { type ServerEvent, type ServerOptions, startServer } from '../../../src/serve/node/server.ts';
import { PROMPT } from '../../../src/upstream/patience.ts';
import { Upstream } from '../../../src/upstream/upstream.ts';
import { parseUpstream } from '../../../src/upstream/upstream-cache.ts';
import { noise } from '../../support/bytes.ts';
import { addPath, startFakeUpstream } from '../../support/fake-upstream.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { baseName, hashPart } from '../set-up.ts';
import { type RawClient, rawClient, request } from './raw-client.ts';

const NAR = noise(3_000_000, 9);

async function start(options: Partial<ServerOptions> = {}) {
  const reader = new MemoryCacheReader();
  const events: ServerEvent[] = [];
  const server = await startServer({
    reader,
    port: 0,
    drainMs: 100,
    onEvent: (event) => events.push(event),
    ...options,
  });
  onTestFinished(() => server.close());
  const client = async (): Promise<RawClient> => {
    const made = await rawClient(server.port);
    onTestFinished(() => void made.socket.destroy());
    return made;
  };
  return { server, reader, events, client, port: server.port };
}

const statuses = (text: string): (string | undefined)[] =>
  [...text.matchAll(/HTTP\/1\.1 ([0-9]{3})/g)].map(([, status]) => status);

describe('a client that does not wait for answers', () => {
  it('has one NAR opened at a time, and gets all of them', async () => {
    const { reader, client } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(1_100_000, 1) });
    let most = 0;
    const count = (): number => reader.opened.filter(({ stream }) => !stream.destroyed).length;
    const asked = await client();
    asked.socket.on('data', () => {
      most = Math.max(most, count());
    });
    asked.send(request(`/${narInfo.url}`).repeat(40) + request('/health'));
    const text = await asked.until((text) => text.endsWith('ok\n'));
    expect(statuses(text)).toEqual(Array.from({ length: 41 }, () => '200'));
    expect(most).toBeLessThanOrEqual(2);
  });

  it('takes no descriptors with thousands of requests', async () => {
    const { reader, client } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    reader.faults.stallAfter = 1000;
    const greedy = await client();
    const before = readdirSync('/proc/self/fd').length;
    greedy.send(request(`/${narInfo.url}`).repeat(5000));
    await greedy.until((text) => text.length > 1000);
    expect(reader.opened).toHaveLength(1);
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(before + 10);
    const other = await client();
    other.send(request('/health'));
    expect(await other.until((text) => text.endsWith('ok\n'))).toContain('200 OK');
  });

  it('is answered in order however much it asks for', async () => {
    const { client } = await start();
    const asked = await client();
    asked.send((request('/health') + request('/nothing')).repeat(3000) + request('/nix-cache-info'));
    const text = await asked.until((text) => text.endsWith('Priority: 30\n'));
    expect(statuses(text)).toEqual([...Array.from({ length: 3000 }, () => ['200', '404']).flat(), '200']);
  });

  it('leaves nothing behind when it leaves', async () => {
    const { reader, client } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    reader.faults.stallAfter = 1000;
    const asked = await client();
    asked.send(request(`/${narInfo.url}`).repeat(100));
    await asked.until((text) => text.length > 1000);
    asked.socket.destroy();
    await expect.poll(() => reader.opened.every(({ stream }) => stream.destroyed)).toBe(true);
    expect(reader.opened).toHaveLength(1);
  });
});

describe('many clients', () => {
  it('have so many large NARs at once as there may be; small requests never wait for those', async () => {
    const { reader, client } = await start({ limits: { connections: 100, nars: 3 } });
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    reader.faults.stallAfter = 1000;
    const greedy = await Promise.all(Array.from({ length: 8 }, client));
    for (const each of greedy) each.send(request(`/${narInfo.url}`));
    await expect.poll(() => reader.opened.length).toBe(3);
    const small = await client();
    small.send(request(`/${hashPart(1)}.narinfo`) + request('/health'));
    await small.until((text) => text.endsWith('ok\n'));
    expect(reader.opened).toHaveLength(3);
    for (const each of greedy.slice(3, 5)) each.socket.destroy(); // two that wait leave
    delete reader.faults.stallAfter;
    const first = greedy.filter((each) => each.received().length > 0);
    expect(first).toHaveLength(3);
    for (const each of first) each.socket.destroy();
    for (const each of greedy.slice(5)) await each.until((text) => text.length > NAR.length);
  });

  it('are turned away when there are too many, which ends when some are idle', async () => {
    const { client, events, port } = await start({ limits: { connections: 3, nars: 3 } });
    const idle = await Promise.all([client(), client(), client()]);
    for (const each of idle) {
      each.send(request('/health'));
      await each.until((text) => text.endsWith('ok\n'));
    }
    const refused = await rawClient(port);
    await refused.closed();
    expect(events).toContainEqual(expect.objectContaining({ type: 'accept-failed' }));
    for (const each of idle) await each.closed();
    const next = await client();
    next.send(request('/health'));
    await next.until((text) => text.endsWith('ok\n'));
  });

  it('may open half as many connections as the process files', () => {
    expect(defaultLimits(1024)).toEqual({ connections: 512, nars: 170 });
    expect(defaultLimits(1_048_576)).toEqual({ connections: 4096, nars: 256 });
    expect(defaultLimits(20)).toEqual({ connections: 16, nars: 4 });
  });
});

it('a client that takes hardly anything is cut off, and one that waits is not', async () => {
  const { reader, client } = await start({ slowReaders: { spanMs: 100, leastBytes: 10_000 } });
  const { narInfo } = reader.add({ baseName: baseName(1), nar: Buffer.alloc(30_000_000, 5) });
  const [slow, waiting] = [await client(), await client()];
  slow.socket.pause();
  slow.send(request(`/${narInfo.url}`));
  await expect.poll(() => reader.opened[0]?.stream.destroyed).toBe(true);
  waiting.send(request('/health'));
  await waiting.until((text) => text.endsWith('ok\n'));
});

it('a client that is slow for less than the span is not cut off, however often; one that is for all of it is', () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const server = new EventEmitter();
  onTestFinished(cutSlowReaders(server as Server, { spanMs: 500, leastBytes: 500 }));
  const socket = { bytesWritten: 0, writableLength: 1, once: vi.fn(), destroy: vi.fn() };
  server.emit('connection', socket);
  const pass = (ms: number, bytes: number): void => {
    socket.bytesWritten += bytes;
    vi.advanceTimersByTime(ms);
  };
  for (let i = 0; i < 10; i++) {
    pass(400, 0);
    pass(100, 100);
  }
  expect(socket.destroy).not.toHaveBeenCalled();
  pass(500, 0);
  expect(socket.destroy).toHaveBeenCalled();
});

describe('a NAR of unknown length', () => {
  const setUp = async (): Promise<{ client: () => Promise<RawClient>; path: string; packed: Buffer }> => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR, url: 'nar/x.nar', terse: true });
    const packed = zstdCompressSync(NAR);
    far.files.set('/nar/x.nar', packed);
    const key = `/${hashPart(1)}.narinfo`;
    far.files.set(key, String(far.files.get(key)).replace('Compression: none', 'Compression: zstd'));
    Object.assign(far.faults, { noLength: true, noHead: true });
    const http = new HttpClient();
    onTestFinished(() => http.destroy());
    const { client } = await start({ upstreams: [new Upstream(parseUpstream(far.url), { http, patience: PROMPT })] });
    const asked = await client();
    asked.send(request(key));
    const text = await asked.until((text) => text.includes('\nReferences:'));
    return { client, path: `/${/^URL: (.*)$/m.exec(text)?.[1]}`, packed };
  };

  it('is not given to a client of HTTP/1.0, to whom half of it would look whole', async () => {
    const { client, path } = await setUp();
    for (const extra of ['', 'Connection: keep-alive\r\n']) {
      const old = await client();
      old.send(`GET ${path} HTTP/1.0\r\n${extra}\r\n`);
      await old.closed();
      const text = old.received().toString('latin1');
      expect(text).toMatch(/^HTTP\/1\.1 505 /);
      expect(text).toContain('Content-Length: ');
    }
  });

  it('is chunked for others, also for those that want the connection closed', async () => {
    const { client, path, packed } = await setUp();
    const asked = await client();
    asked.send(request(path, 'GET', 'Connection: close'));
    await asked.closed();
    const text = asked.received().toString('latin1');
    expect(text).toContain('Transfer-Encoding: chunked\r\n');
    expect(text.endsWith('\r\n0\r\n\r\n')).toBe(true);
    expect(text.length).toBeGreaterThan(packed.length);
  });
});

describe('a client of HTTP/1.0', () => {
  it('gets a NAR with its length', async () => {
    const { client, reader } = await start();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: NAR });
    const old = await client();
    old.send(`GET /${narInfo.url} HTTP/1.0\r\n\r\n`);
    await old.closed();
    const text = old.received().toString('latin1');
    expect(text).toContain(`Content-Length: ${NAR.length}\r\n`);
    expect(text.endsWith(NAR.toString('latin1'))).toBe(true);
  });
});
