import { describe, expect, it } from 'vitest';
import { parseTokens, Tokens } from '../../../src/serve/tokens.ts';
import { noise } from '../../support/bytes.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { baseName, hashPart } from '../set-up.ts';
import { rawClient, request } from './raw-client.ts';
import { start } from './start.ts';

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
    for (const [path, location] of [
      ['/a?q=x', 'a/?q=x'],
      ['/a/nested', 'nested/'],
    ] as const) {
      const reply = await get(path, { redirect: 'manual' });
      expect([reply.status, reply.headers.get('location')]).toEqual([308, location]);
    }
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
    expect(text).not.toContain('holder'); // everyone may read this
    server.reload({ access: access('t-admin') });
    await (await get('/a/nix-cache-info', as('t'))).text();
    const forAdmins = await (await get('/metrics', as('t-admin'))).text();
    expect(forAdmins).toContain('nixcache_token_requests_total{cache="/a",token="holder"}');
    server.reload({});
    expect(text).toContain('nixcache_http_requests_total{route="narinfo",method="GET",status="200"} 1');
    server.reload(undefined, [{ access: access('new') }]);
    expect((await get('/a/nix-cache-info', as('t'))).status).toBe(401);
    server.reload();
    expect((await get('/a/nix-cache-info', as('new'))).status).toBe(200);
  });
});
