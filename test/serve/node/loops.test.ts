/** Servers that are their own upstreams, by whatever way. */
import { expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../../src/http/node/client.ts';
import { type RunningServer, type ServerEvent, startServer } from '../../../src/serve/node/server.ts';
import { PROMPT } from '../../../src/upstream/patience.ts';
import { Upstream } from '../../../src/upstream/upstream.ts';
import { parseUpstream } from '../../../src/upstream/upstream-cache.ts';
import { serve } from '../../http/far-side.ts';
import { noise } from '../../support/bytes.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { baseName, hashPart } from '../set-up.ts';

/** No server gives up what it asked another for: waiting for each other, they would never answer. */
const timeoutMs = 1e9;

const events: ServerEvent[] = [];

/** A server with an upstream at each of `urls`, which may be settled later. */
async function start(reader: MemoryCacheReader, ...urls: (() => string)[]): Promise<RunningServer> {
  const http = new HttpClient();
  const upstreams = urls.map((url) => {
    const far = new Upstream(parseUpstream('http://127.0.0.1:1'), { http, patience: PROMPT });
    const real = (): Upstream => new Upstream({ ...parseUpstream(url()), timeoutMs }, { http, patience: PROMPT });
    far.fetchNarInfo = (...call) => real().fetchNarInfo(...call);
    far.openFile = (...call) => real().openFile(...call);
    return far;
  });
  events.length = 0;
  const server = await startServer({
    ...{ reader, upstreams, port: 0, drainMs: 0, narInfoTimeoutMs: timeoutMs },
    onEvent: (event) => events.push(event),
  });
  onTestFinished(async () => {
    await server.close();
    await http.destroy();
  });
  return server;
}
const statusOf = async (url: string): Promise<number> => {
  const response = await fetch(url);
  await response.arrayBuffer();
  return response.status;
};
const loops = (): number => events.filter((event) => event.type === 'upstream-failed').length;
const PATHS = [1, 2, 3].map((seed) => `/${hashPart(seed)}.narinfo`);
const NAR_PATH = `/nar/${'0'.repeat(52)}.nar`;

it('a server that is its own upstream answers at once, and says so once', async () => {
  const server: RunningServer = await start(new MemoryCacheReader(), () =>
    server.url.replace('127.0.0.1', 'localhost'),
  );
  for (const path of [...PATHS, NAR_PATH]) expect(await statusOf(server.url + path)).toBe(404);
  expect(events).toContainEqual(
    expect.objectContaining({ error: expect.stringContaining('leads back to this server') }),
  );
  expect(loops()).toBeLessThanOrEqual(2);
});

it('two servers that are upstreams of each other answer at once, asked both at once', async () => {
  const reader = new MemoryCacheReader();
  reader.add({ baseName: baseName(9), nar: noise(1000, 9) });
  const one: RunningServer = await start(new MemoryCacheReader(), () => two.url);
  const two: RunningServer = await start(reader, () => one.url);
  const asked = [one, two].flatMap(({ url }) => [...PATHS, NAR_PATH].map((path) => statusOf(url + path)));
  expect(new Set(await Promise.all(asked))).toEqual(new Set([404]));
  expect(await statusOf(`${one.url}/${hashPart(9)}.narinfo`)).toBe(200);
});

it('a proxy between changes nothing', async () => {
  const proxy = await serve((request, response) => {
    const via = [request.headers.via, '1.1 proxy'].filter(Boolean).join(', ');
    void fetch(server.url + request.url, { headers: { via } }).then(({ status }) => response.writeHead(status).end());
  });
  const server: RunningServer = await start(new MemoryCacheReader(), () => proxy.url);
  expect(await statusOf(server.url + PATHS[0])).toBe(404);
  expect(proxy.seen.length).toBe(1);
});
