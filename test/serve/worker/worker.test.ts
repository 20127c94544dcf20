/** The app where it will run: in workerd, reading a cache from a registry. */
import { fileURLToPath } from 'node:url';
import { Miniflare } from 'miniflare';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HttpClient } from '../../../src/http/node/client.ts';
import { parseNarInfo } from '../../../src/nix/nar-info.ts';
import { RemoteRepository } from '../../../src/oci/remote/repository.ts';
import { publisher } from '../../oci/remote/open-repository.ts';
import { CacheBuilder, hashPartFor } from '../../support/cache-builder.ts';
import { FakeRegistry } from '../../support/fake-registry.ts';

const ENTRY = fileURLToPath(new URL('../../../src/serve/worker/worker.ts', import.meta.url));
/** Workers take their handler from a default export, which the house has none of. */
const MODULES: Readonly<Record<string, string>> = {
  main: `export { worker as default } from ${JSON.stringify(ENTRY)};`,
  // Native code, which Workers have not: without it what is compressed with xz is not looked into.
  '@napi-rs/lzma': 'throw new Error("there is no native code here");',
};

async function bundle(): Promise<string> {
  const build = await rolldown({
    input: 'main',
    platform: 'neutral',
    external: /^node:/,
    resolve: { mainFields: ['module', 'main'] },
    plugins: [{ name: 'main', resolveId: (id) => (id in MODULES ? id : null), load: (id) => MODULES[id] ?? null }],
  });
  const { output } = await build.generate({ format: 'esm', codeSplitting: false });
  await build.close();
  return output[0].code;
}

describe('in workerd', () => {
  let registry: FakeRegistry;
  let worker: Miniflare;
  let text: string;

  const get = (path: string, headers: Record<string, string> = {}) =>
    worker.dispatchFetch(`http://cache.example${path}`, { headers });

  beforeAll(async () => {
    registry = await FakeRegistry.start();
    const http = new HttpClient();
    const store = new RemoteRepository({
      host: registry.host,
      repository: 'owner/cache',
      http,
      credentials: publisher,
    });
    await new CacheBuilder(store).publish({ at: new Date(), paths: [{ name: 'big', bytes: 300_000 }, 'small'] });
    await http.destroy();
    worker = new Miniflare({
      modules: true,
      script: await bundle(),
      compatibilityDate: '2026-04-01',
      compatibilityFlags: ['nodejs_compat'],
      bindings: { REGISTRY: registry.host, REPOSITORY: 'owner/cache' },
    });
    text = await (await get(`/${hashPartFor('big')}.narinfo`)).text();
  });
  afterAll(async () => {
    await worker?.dispose();
    await registry?.close();
  });

  it('says what it is', async () => {
    const info = await get('/nix-cache-info');
    expect([info.status, await info.text()]).toEqual([200, 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n']);
    expect(await (await get('/_status')).json()).toMatchObject({ entries: 2 });
  });

  it('gives a NAR that its narinfo names, whole or a part', async () => {
    const { url, fileSize } = parseNarInfo(text);
    const whole = await get(`/${url}`);
    const bytes = Buffer.from(await whole.arrayBuffer());
    expect([whole.status, whole.headers.get('content-length')]).toEqual([200, String(fileSize)]);
    expect(bytes).toHaveLength(fileSize ?? 0);
    const part = await get(`/${url}`, { range: 'bytes=100-1099' });
    expect([part.status, part.headers.get('content-range')]).toEqual([206, `bytes 100-1099/${fileSize}`]);
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(100, 1100))).toBe(true);
  });

  it('has pages for people', async () => {
    const overview = await get('/');
    expect([overview.status, overview.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    expect(await overview.text()).toMatch(/extra-substituters = http:\/\/\S+<\//);
    await expect.poll(async () => (await get('/entries')).text()).toContain('<span class="name">small</span>');
    expect(await (await get(`/path/${hashPartFor('big')}`)).text()).toContain('>big</h1>');
    expect(await (await get('/space')).text()).toContain('<svg');
  });

  it('is 404 for what the cache has not', async () => {
    const miss = await get(`/${'0'.repeat(32)}.narinfo`);
    expect([miss.status, miss.headers.get('cache-control')]).toEqual([404, 'no-store']);
    expect((await get('/nothing')).status).toBe(404);
    expect((await get('/nix-cache-info', { 'if-none-match': '*' })).status).toBe(304);
  });
});
