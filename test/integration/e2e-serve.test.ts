/** What `serve` answers on the wire, and how long it goes on when the registry does not. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { CACHE_KINDS, type CacheHost, startRegistry } from '../support/e2e-caches.ts';
import { nixcache, type Serving, startServe } from '../support/e2e-cli.ts';
import { EXAMPLE, readJson, runNix, substitute, withClient, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('serve-e2e-1');
const hashPart = (path: string): string => path.slice(11, 43);
const fieldOf = (narInfo: string, name: string): string =>
  new RegExp(`^${name}: (.*)$`, 'm').exec(narInfo)?.[1] ?? `no ${name}`;

describe.each(CACHE_KINDS)('serve from $name', ({ start }) => {
  let host: CacheHost;
  let nix: NixEnv;
  let server: Serving;
  let pushed: readonly string[];
  let primes = '';
  let narUrl = '';
  let nar: Buffer;

  const get = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${server.url}${path}`, init);
  const publish = (flake: string, ...args: string[]) =>
    nixcache(['publish', flake, '--to', host.cache('main'), '--no-upstream', '--json', ...args], {
      env: { ...nix.env, NIX_SIGNING_KEY: key.secret },
    });

  beforeAll(async () => {
    [host, nix] = await Promise.all([start(), createNixEnv()]);
    pushed = readJson((await publish(EXAMPLE)).stdout).pushed ?? [];
    primes = pushed.find((path) => path.endsWith('-primes-1.0')) ?? '';
    server = await startServe(['--from', host.cache('main'), '--no-upstream'], nix);
    narUrl = `/${fieldOf(await (await get(`/${hashPart(primes)}.narinfo`)).text(), 'URL')}`;
    nar = Buffer.from(await (await get(narUrl)).arrayBuffer());
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await Promise.all([host.stop(), nix.cleanup()]);
  });

  it('says what it is', async () => {
    const info = await (await get('/nix-cache-info')).text();
    expect(info).toBe('StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n');
    expect(await (await get('/public-key')).text()).toBe(`${key.public}\n`);
    expect(await (await get('/_status')).json()).toMatchObject({
      cache: host.cache('main'),
      storeDir: '/nix/store',
      entries: pushed.length,
      upstreams: [],
      index: { ageSeconds: expect.any(Number), lastError: null },
    });
    expect((await get('/health')).status).toBe(200);
  });

  it('gives the bytes that the narinfo names', async () => {
    const narInfo = await (await get(`/${hashPart(primes)}.narinfo`)).text();
    expect(Number(fieldOf(narInfo, 'FileSize'))).toBe(nar.length);
    const sum = createHash('sha256').update(nar).digest('hex');
    const nix32 = await runNix(nix, 'nix', 'hash', 'to-base32', '--type', 'sha256', sum);
    expect(fieldOf(narInfo, 'FileHash')).toBe(`sha256:${nix32}`);
    expect(narUrl).toContain(nix32);
  });

  it('answers HEAD with the headers of GET and no body', async () => {
    for (const path of ['/nix-cache-info', `/${hashPart(primes)}.narinfo`, `/${hashPart(primes)}.ls`, narUrl]) {
      const [head, body] = await Promise.all([get(path, { method: 'HEAD' }), get(path)]);
      const headersOf = ({ headers }: Response) =>
        ['content-length', 'content-type', 'etag', 'cache-control'].map((name) => headers.get(name));
      expect([head.status, ...headersOf(head)]).toEqual([200, ...headersOf(body)]);
      expect(Number(head.headers.get('content-length'))).toBe((await body.arrayBuffer()).byteLength);
      expect((await head.arrayBuffer()).byteLength).toBe(0);
    }
  });

  it('gives single ranges of a NAR', async () => {
    const last = nar.length - 1;
    for (const [range, from, to] of [
      ['bytes=0-99', 0, 99],
      [`bytes=${last - 9}-`, last - 9, last],
      ['bytes=-10', last - 9, last],
      [`bytes=5-${last + 1000}`, 5, last],
    ] as const) {
      const response = await get(narUrl, { headers: { range } });
      expect(response.status).toBe(206);
      expect(response.headers.get('content-range')).toBe(`bytes ${from}-${to}/${nar.length}`);
      expect(Buffer.from(await response.arrayBuffer()).equals(nar.subarray(from, to + 1))).toBe(true);
    }
    const beyond = await get(narUrl, { headers: { range: `bytes=${nar.length}-` } });
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${nar.length}`]);
  });

  it('answers 304 to who has it, and sends a range only of what they have', async () => {
    const etag = (await get(narUrl, { method: 'HEAD' })).headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[^"]+"$/);
    expect((await get(narUrl, { headers: { 'if-none-match': etag } })).status).toBe(304);
    expect((await get(narUrl, { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
    const resumed = (ifRange: string) => get(narUrl, { headers: { range: 'bytes=0-9', 'if-range': ifRange } });
    expect((await resumed(etag)).status).toBe(206);
    expect((await resumed('"other"')).status).toBe(200);
  });

  it('has the listings that Nix would write', async () => {
    const directory = join(nix.dir, 'listings');
    await runNix(nix, 'nix', 'copy', '--to', `file://${directory}?write-nar-listing=true`, ...pushed);
    for (const path of pushed) {
      const response = await get(`/${hashPart(path)}.ls`);
      expect(response.headers.get('content-type')).toBe('application/json');
      const theirs = JSON.parse(await readFile(join(directory, `${hashPart(path)}.ls`), 'utf8')) as object;
      expect(await response.json()).toEqual(theirs);
    }
  });

  it('says what it does not have', async () => {
    const absent = '0'.repeat(32);
    const odd = ['/narinfo', '/..%2f..%2fetc%2fpasswd', '/nar/../../etc/passwd', '/e.narinfo', `/${absent}.narinfo.x`];
    for (const path of [`/${absent}.narinfo`, `/${absent}.ls`, `/nar/${'0'.repeat(52)}.nar.zst`, ...odd]) {
      const response = await get(path);
      expect([path, response.status]).toEqual([path, 404]);
      expect(response.headers.get('cache-control')).toBe('no-store');
    }
    expect((await get('/nix-cache-info', { method: 'DELETE' })).status).toBe(405);
    const upload = await get(`/${absent}.narinfo`, { method: 'PUT', body: 'x' });
    expect([401, 403, 405, 503]).toContain(upload.status);
  });

  it('sees what others publish once it is told to look', async () => {
    const flake = await writeFlake(join(nix.dir, 'more'), '{ more = run "more" "echo more > $out"; }');
    const [path = ''] = readJson((await publish(flake)).stdout).pushed ?? [];
    expect((await get(`/${hashPart(path)}.narinfo`)).status).toBe(404);
    const refreshed = await get('/_refresh', { method: 'POST' });
    expect([refreshed.status, await refreshed.json()]).toMatchObject([200, { refreshed: true }]);
    expect((await get(`/${hashPart(path)}.narinfo`)).status).toBe(200);
    expect(await substitute(server.url, [key.public], [path])).toEqual([path]);
  });

  it('serves nothing that a key it does not trust has signed', async () => {
    const trust = ['--trusted-public-key', generateKey('other-1').public];
    await using wary = await startServe(['--from', host.cache('main'), '--no-upstream', ...trust], nix);
    expect((await fetch(`${wary.url}/${hashPart(primes)}.narinfo`)).status).toBe(404);
    expect((await fetch(`${wary.url}${narUrl}`)).status).toBe(404);
  });

  it('ends in good order on SIGTERM, and lets nobody down who is being served', async () => {
    await using ending = await startServe(['--from', host.cache('main'), '--no-upstream'], nix);
    const response = await fetch(`${ending.url}${narUrl}`);
    const stopped = ending.stop();
    expect(Buffer.from(await response.arrayBuffer()).equals(nar)).toBe(true);
    expect((await stopped).exitCode).toBe(0);
    await expect(fetch(`${ending.url}/nix-cache-info`)).rejects.toThrow();
  });
});

describe('serve without its registry', () => {
  it('waits for one that is away for seconds, as Nix does', async () => {
    const [host, nix] = await Promise.all([startRegistry(), createNixEnv()]);
    try {
      const flake = await writeFlake(join(nix.dir, 'f'), '{ it = run "it" "echo hello > $out"; }');
      const published = await nixcache(['publish', flake, '--to', host.cache('away'), '--no-upstream', '--json'], {
        env: { ...nix.env, NIX_SIGNING_KEY: key.secret },
      });
      const [path = ''] = readJson(published.stdout).pushed ?? [];
      await using server = await startServe(['--from', host.cache('away'), '--no-upstream'], nix);
      const url = fieldOf(await (await fetch(`${server.url}/${hashPart(path)}.narinfo`)).text(), 'URL');
      await host.registry.pause();
      const answer = fetch(`${server.url}/${url}`);
      await delay(2500); // the outage
      await host.registry.resume();
      expect((await answer).status).toBe(200);
    } finally {
      await Promise.all([host.stop(), nix.cleanup()]);
    }
  });

  it('goes on from the last index on disk, with quick misses and clean failures', async () => {
    const [host, nix] = await Promise.all([startRegistry(), createNixEnv()]);
    try {
      const flake = await writeFlake(join(nix.dir, 'f'), '{ it = run "it" "head -c 200000 /dev/urandom > $out"; }');
      const published = await nixcache(['publish', flake, '--to', host.cache('gone'), '--no-upstream', '--json'], {
        env: { ...nix.env, NIX_SIGNING_KEY: key.secret },
      });
      const [path = ''] = readJson(published.stdout).pushed ?? [];
      const copy = join(nix.dir, 'copy');
      await runNix(nix, 'nix', 'copy', '--to', `file://${copy}`, path);
      const args = ['--from', host.cache('gone'), '--no-upstream'];
      await using first = await startServe(args, nix);
      expect((await fetch(`${first.url}/${hashPart(path)}.narinfo`)).status).toBe(200);
      await first.stop();

      await host.registry.pause();
      await using second = await startServe(args, nix);
      const narInfo = await fetch(`${second.url}/${hashPart(path)}.narinfo`);
      expect([narInfo.status, fieldOf(await narInfo.text(), 'StorePath')]).toEqual([200, path]);
      expect((await fetch(`${second.url}/${'0'.repeat(32)}.narinfo`)).status).toBe(404);
      expect((await fetch(`${second.url}/_refresh`, { method: 'POST' })).status).toBe(502);
      expect(await (await fetch(`${second.url}/_status`)).json()).toMatchObject({
        entries: 1,
        index: { lastError: expect.stringContaining('refused') },
      });
      const url = fieldOf(await (await fetch(`${second.url}/${hashPart(path)}.narinfo`)).text(), 'URL');
      await expect(fetch(`${second.url}/${url}`).then(({ status }) => status)).resolves.toBeGreaterThan(399);
      // Nix gets no NAR from us, says so, and takes it from the next substituter.
      await withClient(`${second.url} file://${copy}?priority=90&trusted=true`, [key.public], async (client) => {
        await runNix(client, 'nix-store', '--realise', path);
        await runNix(client, 'nix-store', '--verify', '--check-contents');
      });
      await withClient(second.url, [key.public], async (client) => {
        await expect(runNix(client, 'nix-store', '--realise', path)).rejects.toThrow(/exit code 1/);
      });

      await host.registry.resume();
      expect((await fetch(`${second.url}/_refresh`, { method: 'POST' })).status).toBe(200);
      expect(await substitute(second.url, [key.public], [path])).toEqual([path]);
    } finally {
      await Promise.all([host.stop(), nix.cleanup()]);
    }
  });
});
