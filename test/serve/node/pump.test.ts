import { readdirSync, readlinkSync } from 'node:fs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { DiskCache } from '../../../src/serve/node/disk/disk-cache.ts';
import { startServer } from '../../../src/serve/node/server.ts';
import { noise } from '../../support/bytes.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { baseName } from '../set-up.ts';
import { rawClient, request } from './raw-client.ts';

const NARS = [0, 1, 65_536, 65_537, 262_144, 1_000_000, 7_000_001].map((size) => noise(size, size));

/** A server all of whose NARs are in its disk cache, and found right. */
async function setUp() {
  const objects = await DiskCache.open({ directory: await tempDir(), maxBytes: 1024 * 1024 * 1024 });
  const reader = new MemoryCacheReader();
  const events: unknown[] = [];
  const server = await startServer({ reader, objects, port: 0, drainMs: 100, onEvent: (event) => events.push(event) });
  onTestFinished(async () => {
    await server.close();
    await objects?.close();
  });
  const nars = NARS.map((nar, index) => {
    const { url } = reader.add({ baseName: baseName(index), nar, compression: 'none' }).narInfo;
    return { nar, url: `${server.url}/${url}` };
  });
  for (const { nar, url } of nars) expect(await read(url)).toEqual(nar);
  await objects?.close();
  reader.faults.unreachable = true;
  events.length = 0;
  return { nars, events, port: server.port };
}

async function read(url: string, headers: Record<string, string> = {}): Promise<Buffer> {
  const reply = await fetch(url, { headers });
  return Buffer.from(await reply.arrayBuffer());
}

/** Of the disk cache. */
const openFiles = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('/objects/');
    } catch {
      return false; // the directory itself, closed by now
    }
  }).length;

describe('what is sent out of the disk cache', () => {
  it('is right, whole and in parts, for many at once', async () => {
    const { nars, events } = await setUp();
    const reading = Array.from({ length: 8 }, () =>
      nars.map(async ({ nar, url }) => {
        expect((await read(url)).equals(nar)).toBe(true);
        if (nar.length < 3) return;
        expect((await read(url, { Range: 'bytes=1-' })).equals(nar.subarray(1))).toBe(true);
        expect((await read(url, { Range: 'bytes=-70000' })).equals(nar.subarray(-70_000))).toBe(true);
      }),
    );
    await Promise.all(reading.flat());
    expect(events).toEqual([]);
    await vi.waitFor(() => expect(openFiles()).toBe(0));
  });

  it('goes to one client after another on one connection', async () => {
    const { nars, port } = await setUp();
    const client = await rawClient(port);
    onTestFinished(() => void client.socket.destroy());
    const received: Buffer[] = [];
    client.socket.on('data', (chunk: Buffer) => received.push(chunk));
    const wanted = nars.filter(({ nar }) => nar.length > 100_000);
    for (const { url } of wanted) client.socket.write(request(new URL(url).pathname));
    const total = wanted.reduce((sum, { nar }) => sum + nar.length, 0);
    await vi.waitFor(() => expect(Buffer.concat(received).length).toBeGreaterThan(total), 20_000);
    const all = Buffer.concat(received);
    for (const { nar } of wanted) expect(all.includes(nar)).toBe(true);
  });

  it('ends with a client that leaves, and is no failure', async () => {
    const { nars, events, port } = await setUp();
    const { nar = Buffer.alloc(0), url = '' } = nars.at(-1) ?? {};
    for (let i = 0; i < 20; i += 1) {
      const client = await rawClient(port);
      client.socket.pause();
      client.socket.write(request(new URL(url).pathname));
      await vi.waitFor(() => expect(openFiles()).toBeGreaterThan(0));
      client.socket.resetAndDestroy();
      expect((await read(url)).equals(nar)).toBe(true);
    }
    await vi.waitFor(() => expect(openFiles()).toBe(0), 20_000);
    expect(events).toEqual([]);
  });
});
