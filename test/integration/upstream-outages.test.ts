/** What a client of `serve` notices of upstreams that are away: as little as can be. Real sockets, and the times of real use. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { startServer } from '../../src/serve/node/server.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { baseName, hashPart } from '../serve/set-up.ts';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';

/** A `serve` that asks `urls` in this order, as the command sets it up. */
async function serveThrough(...urls: readonly string[]) {
  const http = new HttpClient({ connectTimeoutMs: 5000 });
  const upstreams = urls.map((url) => new Upstream(parseUpstream(url), { http, patience: PROMPT }));
  const server = await startServer({ reader: new MemoryCacheReader(), upstreams, port: 0, drainMs: 0 });
  onTestFinished(async () => {
    await server.close();
    for (const each of upstreams) each.close();
    await http.destroy();
  });
  const get = async (seed: number): Promise<number> => (await fetch(`${server.url}/${hashPart(seed)}.narinfo`)).status;
  return { get, stateOf: (index: number) => upstreams[index]?.health().state };
}

const many = <T>(count: number, act: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => act(index)));

/** Listens, and has no room for another connection: what is sent to it gets no answer of any kind. */
async function startBlackHole(): Promise<string> {
  const program = `
    const server = require('node:net').createServer().listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
      require('node:fs').writeSync(1, String(server.address().port));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [port] = await once(child.stdout, 'data');
  const fillers = Array.from({ length: 8 }, () => connect(Number(String(port)), '127.0.0.1').on('error', () => {}));
  onTestFinished(() => {
    for (const filler of fillers) filler.destroy();
  });
  await expect.poll(() => fillers.filter((each) => !each.connecting).length).toBeGreaterThan(1);
  return `http://127.0.0.1:${String(port)}`;
}

async function startGood(...seeds: readonly number[]): Promise<FakeUpstream> {
  const far = await startFakeUpstream();
  for (const seed of seeds) addPath(far, { baseName: baseName(seed), nar: noise(100, seed) });
  return far;
}

it('misses that come at once wait together for a silent upstream, once; those after them do not wait', async () => {
  const [silent, good] = [await startFakeUpstream(), await startGood(1)];
  silent.faults.hang = true;
  const { get, stateOf } = await serveThrough(silent.url, good.url);
  expect(await many(10, (index) => get(100 + index))).toEqual(Array(10).fill(404));
  expect(stateOf(0)).toBe('open');
  expect(silent.requests.length).toBeLessThan(15);
  const seeds = Array.from({ length: 100 }, (_, index) => 200 + index);
  for (const seed of seeds) expect(await get(seed)).toBe(404);
  expect(await get(1)).toBe(200);
  // It is looked at in the background, now and then.
  const after = new Set([1, ...seeds].map((seed) => `GET /${hashPart(seed)}.narinfo`));
  expect(silent.requests.filter((request) => after.has(request)).length).toBeLessThan(10);
});

it('hits of another upstream show that one is silent, without waiting for it', async () => {
  const seeds = Array.from({ length: 40 }, (_, seed) => seed);
  const [silent, good] = [await startFakeUpstream(), await startGood(...seeds)];
  silent.faults.hang = true;
  const { get, stateOf } = await serveThrough(silent.url, good.url);
  for (const seed of seeds) expect(await get(seed)).toBe(200);
  await expect.poll(() => stateOf(0)).toBe('open');
  expect(await get(1000)).toBe(404);
});

it('an upstream that nothing can connect to is given up after one deadline, and comes back', async () => {
  const good = await startGood(1);
  const { get, stateOf } = await serveThrough(await startBlackHole(), good.url);
  expect(await get(1)).toBe(200);
  expect(await many(5, (index) => get(100 + index))).toEqual(Array(5).fill(404));
  expect(stateOf(0)).toBe('open');
});

it('a slow upstream is waited for, also by several, and again', async () => {
  const slow = await startGood(1, 2, 3);
  slow.faults.delayMs = 3000;
  const { get, stateOf } = await serveThrough(slow.url);
  expect(await many(2, (index) => get(1 + index))).toEqual([200, 200]);
  expect(await many(2, (index) => get(3 + index))).toEqual([200, 404]);
  expect(stateOf(0)).toBe('closed');
});

it.each(['503', 'a reset'])('what Nix rides out is ridden out: %s for three seconds', async (what) => {
  const far = await startGood(1, 2, 3, 4);
  if (what === '503') far.faults.status = 503;
  else far.faults.reset = true;
  const { get } = await serveThrough(far.url);
  setTimeout(() => {
    delete far.faults.status;
    delete far.faults.reset;
  }, 3000);
  expect(await many(4, (index) => get(1 + index))).toEqual(Array(4).fill(200));
});

it('an upstream that was away is asked again soon after it is back, whoever paid for finding out', async () => {
  const far = await startGood(1);
  far.faults.hang = true;
  const { get, stateOf } = await serveThrough(far.url);
  expect(await get(2)).toBe(404);
  expect(await get(1)).toBe(404);
  far.faults.hang = false;
  await expect.poll(() => stateOf(0)).toBe('closed');
  expect(await get(1)).toBe(200);
});
