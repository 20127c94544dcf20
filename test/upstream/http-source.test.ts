/** What a binary cache answers over HTTP, and what is made of it. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { HttpSource } from '../../src/upstream/http-source.ts';
import { parseUpstream, type UpstreamCache } from '../../src/upstream/upstream-cache.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { noise, readAll } from '../support/bytes.ts';

const FILE = noise(1000, 1);

interface Reply {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Buffer | string;
}

/** A source whose server answers everything with `reply`, and the requests that it got. */
async function open(
  reply: Reply | ((request: IncomingMessage) => Reply),
  login = '',
  more: Partial<UpstreamCache> = {},
) {
  const asked: {
    readonly method: string | undefined;
    readonly url: string | undefined;
    headers: IncomingHttpHeaders;
  }[] = [];
  const server = createServer((request, response) => {
    const { method, url, headers } = request;
    asked.push({ method, url, headers });
    const { status, headers: told = {}, body } = typeof reply === 'function' ? reply(request) : reply;
    response.writeHead(status, told).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const http = new HttpClient();
  onTestFinished(async () => {
    await http.destroy();
    server.close();
  });
  const base = `http://${login}127.0.0.1:${(server.address() as AddressInfo).port}/cache`;
  return { source: new HttpSource({ ...parseUpstream(base), ...more }, http, new ManualClock()), asked, base };
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
    expect(file).toMatchObject({ size: FILE.length, etag: '"one"' });
    expect(file && (await readAll(file.body))).toEqual(FILE);
    expect(asked.map(({ method, url, headers }) => [method, url, headers.range])).toEqual([
      ['GET', '/cache/nar/x.nar', undefined],
    ]);
  });

  it('has no tag where that is weak, nor a size that is not told', async () => {
    const { source } = await open({
      status: 200,
      headers: { etag: 'W/"one"', 'content-encoding': 'identity', 'transfer-encoding': 'chunked' },
      body: FILE,
    });
    const file = await source.open('x');
    expect(file).toMatchObject({ size: undefined, etag: undefined });
    expect(file && (await readAll(file.body))).toEqual(FILE);
  });

  it.each([
    ['gzip', gzipSync(FILE)],
    ['x-gzip', gzipSync(FILE)],
    ['br', brotliCompressSync(FILE)],
    ['ZSTD', zstdCompressSync(FILE)],
    ['deflate', deflateSync(FILE)],
    ['br, gzip', gzipSync(brotliCompressSync(FILE))],
  ])('is as it was before it was encoded as %s, and so is a part of it', async (encoding, body) => {
    const headers = { 'content-encoding': encoding };
    const { source } = await open({ status: 200, headers, body });
    const whole = await source.open('x');
    expect(whole?.size).toBeUndefined();
    expect(whole && (await readAll(whole.body))).toEqual(FILE);
    const middle = await source.open('x', { range: { offset: 100, length: 200 } });
    expect(middle && (await readAll(middle.body))).toEqual(FILE.subarray(100, 300));
  });

  it('is decoded from its beginning when only a part of the encoded comes', async () => {
    const encoded = gzipSync(FILE);
    const { source, asked } = await open(({ headers: { range } }) =>
      range === undefined
        ? { status: 200, headers: { 'content-encoding': 'gzip' }, body: encoded }
        : {
            status: 206,
            headers: { 'content-encoding': 'gzip', 'content-range': `bytes 100-299/${encoded.length}` },
            body: encoded.subarray(100, 300),
          },
    );
    const middle = await source.open('x', { range: { offset: 100, length: 200 } });
    expect(middle && (await readAll(middle.body))).toEqual(FILE.subarray(100, 300));
    expect(asked.map(({ headers }) => headers.range)).toEqual(['bytes=100-299', undefined]);
  });

  it.each([
    ['cut off', gzipSync(FILE).subarray(0, 500)],
    ['no gzip at all', Buffer.from('<html>')],
  ])('that is encoded and %s ends in an error', async (_what, body) => {
    const { source } = await open({ status: 200, headers: { 'content-encoding': 'gzip' }, body });
    const file = await source.open('x');
    await expect(file && readAll(file.body)).rejects.toMatchObject({
      code: 'ERR_UPSTREAM',
      message: /decoded as gzip/,
    });
  });

  it.each(['rot13', 'constructor'])('with the encoding %s is refused by name', async (encoding) => {
    const { source } = await open({ status: 200, headers: { 'content-encoding': encoding }, body: 'x' });
    await expect(source.open('x')).rejects.toMatchObject({
      code: 'ERR_UPSTREAM',
      message: expect.stringContaining(encoding),
    });
  });

  it('is asked for with the login of the cache', async () => {
    const { source, asked } = await open({ status: 200 }, 'me:secret@');
    await source.open('x');
    expect(asked[0]?.headers.authorization).toBe(`Basic ${Buffer.from('me:secret').toString('base64')}`);
  });

  it('elsewhere is asked for there, without the login of the cache', async () => {
    const { source, asked } = await open({ status: 200 }, 'me:secret@');
    const elsewhere = await open({ status: 200, body: FILE });
    const file = await source.open(`${elsewhere.base}/far.nar?token=x`);
    expect(file && (await readAll(file.body))).toEqual(FILE);
    expect(elsewhere.asked.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/cache/far.nar?token=x', undefined],
    ]);
    expect(asked).toEqual([]);
  });

  it('elsewhere is asked for with the login for there, also where a redirect leads on', async () => {
    const last = await open({ status: 200, body: FILE });
    const elsewhere = await open({ status: 302, headers: { location: last.base } });
    const authorizationFor = ({ port }: URL): string => `Basic ${port}`;
    const { source } = await open({ status: 200 }, 'me:secret@', { authorizationFor });
    const file = await source.open(`${elsewhere.base}/far.nar`);
    expect(file && (await readAll(file.body))).toEqual(FILE);
    for (const { asked, base } of [elsewhere, last]) {
      expect(asked.map(({ headers }) => headers.authorization)).toEqual([`Basic ${new URL(base).port}`]);
    }
  });

  it.each([
    ['/nar/x', ['/cache/nar/x', '/nar/x']],
    ['../x', ['/x']],
    ['nar/x?hash=y', ['/cache/nar/x?hash=y']],
    ['./nar/%41', ['/cache/nar/%41']],
    ['//[', []],
    ['file:///etc/passwd', []],
  ])('at %s is looked for where a Nix would', async (url, expected) => {
    const { source, asked } = await open({ status: 404 });
    expect(await source.open(url)).toBeUndefined();
    expect(asked.map((request) => request.url)).toEqual(expected);
  });

  it('may lie behind a redirect to where HEAD is refused: that is not asked', async () => {
    const { source, asked } = await open(({ url }) =>
      url?.includes('signed') ? { status: 200, body: FILE } : { status: 307, headers: { location: '/signed?key=x' } },
    );
    const file = await source.open('x');
    expect(file && (await readAll(file.body))).toEqual(FILE);
    expect(asked.map(({ method }) => method)).toEqual(['GET', 'GET']);
  });

  it('is not found by asking a server that is the one who asks', async () => {
    const { source, asked } = await open({ status: 508 });
    await expect(source.open('x', { via: '1.1 me' })).rejects.toMatchObject({ message: /leads back to this server/ });
    expect(asked[0]?.headers['via']).toBe('1.1 me');
  });

  it('that is still being made is worth another try', async () => {
    const { source } = await open({ status: 202 });
    await expect(source.open('x')).rejects.toMatchObject({ retryable: true });
  });

  it.each([403, 404, 410])('that is answered with %i is absent', async (status) => {
    const { source } = await open({ status, body: 'no' });
    expect(await source.open('x')).toBeUndefined();
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
