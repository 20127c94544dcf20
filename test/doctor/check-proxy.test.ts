import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { checkProxy, type ProxyCheckOptions } from '../../src/doctor/check-proxy.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { startServer } from '../../src/serve/node/server.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import type { MemoryStore } from '../support/memory-store.ts';
import { cacheOf, ours } from './signed-cache.ts';

async function openCache(): Promise<{ store: MemoryStore; reader: IndexReader }> {
  const store = await cacheOf('well', [ours.public]);
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  return { store, reader };
}

function ask(options: Partial<ProxyCheckOptions>): Promise<Finding> {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  return checkProxy({
    http,
    serveUrl: 'http://127.0.0.1:37515',
    isExpected: false,
    cacheName: 'memory',
    reader: undefined,
    ...options,
  });
}

describe('the doctor, of the proxy', () => {
  it('finds one that serves what the cache has well, and one that is behind not', async () => {
    const { store, reader } = await openCache();
    const served = await IndexReader.open({ store, strict: false });
    const server = await startServer({ reader: served, upstreams: [], port: 0, version: '1.2.3', indexTtlMs: 1e9 });
    onTestFinished(() => server.close());
    const asked = { serveUrl: server.url, reader };
    expect(await ask(asked)).toMatchObject({ verdict: 'ok', message: expect.stringContaining('1.2.3') });
    expect(await ask({ ...asked, cacheName: 'oci:/other' })).toMatchObject({
      verdict: 'warning',
      message: expect.stringContaining('serves memory, not oci:/other'),
    });
    await new CacheBuilder(store).publish({ at: day(3), paths: ['d'] });
    await reader.refresh();
    expect(await ask(asked)).toMatchObject({
      verdict: 'warning',
      message: expect.stringContaining('3 entries in 3 segments, the cache 4 in 4'),
      fix: expect.stringContaining('/_refresh'),
    });
  });

  it('minds that none runs only where one is expected', async () => {
    const nowhere = 'http://127.0.0.1:1';
    expect((await ask({ serveUrl: nowhere })).verdict).toBe('skipped');
    expect(await ask({ serveUrl: nowhere, isExpected: true })).toMatchObject({
      verdict: 'problem',
      fix: 'start it: nixcache serve',
    });
  });

  it.each(['<html>', '{}', ''])('knows what is no nixcache by its answer %j', async (body) => {
    const server = createServer((_, response) => response.end(body));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await ask({ serveUrl: url })).toMatchObject({
      verdict: 'problem',
      message: expect.stringContaining('no nixcache'),
    });
  });

  it('gives up soon on one that never answers', async () => {
    const server = createServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await ask({ serveUrl: url, isExpected: true })).toMatchObject({
      verdict: 'problem',
      message: expect.stringContaining('2 s'),
    });
  });
});
