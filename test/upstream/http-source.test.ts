/** What a binary cache answers over HTTP, and what is made of it. */
import { createServer, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { HttpSource } from '../../src/upstream/http-source.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { noise, readAll } from '../support/bytes.ts';

const FILE = noise(1000, 1);

interface Reply {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Buffer | string;
}

/** A source whose server answers everything with `reply`, and the requests that it got. */
async function open(reply: Reply, login = '') {
  const asked: {
    readonly method: string | undefined;
    readonly url: string | undefined;
    headers: IncomingHttpHeaders;
  }[] = [];
  const server = createServer(({ method, url, headers }, response) => {
    asked.push({ method, url, headers });
    response.writeHead(reply.status, reply.headers ?? {}).end(method === 'HEAD' ? undefined : reply.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const http = new HttpClient();
  onTestFinished(async () => {
    await http.destroy();
    server.close();
  });
  const base = `http://${login}127.0.0.1:${(server.address() as AddressInfo).port}/cache`;
  return { source: new HttpSource(parseUpstream(base), http, new ManualClock()), asked };
}

const part = (first: number, last: number, total: number | '*' = FILE.length): Reply => ({
  status: 206,
  headers: { 'content-range': `bytes ${first}-${last}/${total}` },
  body: FILE.subarray(first, last + 1),
});

describe('a file', () => {
  it('is opened below the cache, with its size and strong tag', async () => {
    const { source, asked } = await open({
      status: 200,
      headers: { 'content-length': FILE.length, etag: '"one"' },
      body: FILE,
    });
    const file = await source.open('nar/x.nar');
    expect(file).toMatchObject({ size: FILE.length, etag: '"one"', encoding: undefined });
    expect(file && (await readAll(file.body))).toEqual(FILE);
    expect(asked.map(({ method, url, headers }) => [method, url, headers.range])).toEqual([
      ['GET', '/cache/nar/x.nar', undefined],
    ]);
  });

  it('has no tag where that is weak, nor an encoding that is none, nor a size that is not told', async () => {
    const { source } = await open({
      status: 200,
      headers: { etag: 'W/"one"', 'content-encoding': 'identity', 'transfer-encoding': 'chunked' },
      body: FILE,
    });
    const file = await source.open('x');
    file?.body.destroy();
    expect(file).toMatchObject({ size: undefined, etag: undefined, encoding: undefined });
  });

  it('says how it is encoded', async () => {
    const { source } = await open({ status: 200, headers: { 'content-encoding': 'br' }, body: 'x' });
    expect(await source.stat('x')).toMatchObject({ encoding: 'br' });
  });

  it('is asked for with the login of the cache', async () => {
    const { source, asked } = await open({ status: 200 }, 'me:secret@');
    await source.stat('x');
    expect(asked.map(({ method, headers }) => [method, headers.authorization])).toEqual([
      ['HEAD', `Basic ${Buffer.from('me:secret').toString('base64')}`],
    ]);
  });

  it('outside the cache is absent, and not asked for', async () => {
    const { source, asked } = await open({ status: 200 });
    for (const url of ['../secret', 'http://elsewhere.example/x', '/secret', '..%2fsecret']) {
      expect([await source.open(url), await source.stat(url)]).toEqual([undefined, undefined]);
    }
    expect(asked).toEqual([]);
  });

  it.each([403, 404, 410])('that is answered with %i is absent', async (status) => {
    const { source } = await open({ status, body: 'no' });
    expect([await source.open('x'), await source.stat('x')]).toEqual([undefined, undefined]);
  });

  it.each([204, 302, 401, 500])('that is answered with %i is no answer', async (status) => {
    const { source } = await open({ status });
    await expect(source.open('x')).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
  });
});

describe('a part of a file', () => {
  it('is asked for, and its size is that of the whole', async () => {
    const { source, asked } = await open(part(100, 299));
    const file = await source.open('x', { range: { offset: 100, length: 200 } });
    expect(file?.size).toBe(FILE.length);
    expect(file && (await readAll(file.body))).toEqual(FILE.subarray(100, 300));
    expect(asked[0]?.headers.range).toBe('bytes=100-299');
  });

  it('to the end is asked for as such', async () => {
    const { source, asked } = await open(part(100, 999, '*'));
    const file = await source.open('x', { range: { offset: 100 } });
    expect(file?.size).toBeUndefined();
    expect(file && (await readAll(file.body))).toEqual(FILE.subarray(100));
    expect(asked[0]?.headers.range).toBe('bytes=100-');
  });

  it('is cut out of the whole where a server knows no ranges', async () => {
    const { source } = await open({ status: 200, headers: { 'content-length': FILE.length }, body: FILE });
    const file = await source.open('x', { range: { offset: 100, length: 200 } });
    expect(file && (await readAll(file.body))).toEqual(FILE.subarray(100, 300));
  });

  it.each([
    ['another beginning', part(99, 299)],
    ['too short', part(100, 298)],
    ['no range at all', { status: 206, body: 'x' }],
  ])('is refused when the server sends %s', async (_what, reply) => {
    const { source } = await open(reply);
    await expect(source.open('x', { range: { offset: 100, length: 200 } })).rejects.toMatchObject({
      code: 'ERR_UPSTREAM',
    });
  });

  it('that nobody asked for is refused', async () => {
    await expect((await open(part(0, 999))).source.open('x')).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
  });

  it('to the end is refused when it ends before', async () => {
    const { source } = await open(part(100, 998));
    await expect(source.open('x', { range: { offset: 100 } })).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
  });

  it('that lies beyond the file is told apart', async () => {
    const { source } = await open({ status: 416 });
    await expect(source.open('x', { range: { offset: 5000 } })).rejects.toMatchObject({ code: 'ERR_RANGE' });
  });
});
