/**
 * What Nix substitutes from a cache directly, it substitutes through `serve`: one server with a table of the quirks that real
 * caches have, each asked both ways.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { execaSync } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { startServer } from '../../src/serve/node/server.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';
import {
  type Cleanup,
  chunked,
  type Handler,
  isNar,
  isNarInfo,
  type Quirk,
  quirkyPath,
  startQuirky,
  status,
  substitutes,
  without,
} from '../support/quirky-upstream.ts';

beforeAll(async () => void (await quirkyPath()));

/** `code` for the first `times` requests that `which` picks. */
const first =
  (times: number, which: (request: IncomingMessage) => boolean, answer: (response: ServerResponse) => true): Handler =>
  (request, response, seen) =>
    which(request) && seen <= times && answer(response);
const redirect =
  (code: number, which: (request: IncomingMessage) => boolean): Handler =>
  (request, response) =>
    which(request) && !request.url?.includes('moved') && status(code, { location: `/moved${request.url}` })(response);
const encoded = (which: 'narInfo' | 'nar', coding: string, encode: (bytes: Buffer) => Buffer): Quirk => ({
  name: `${which} with Content-Encoding ${coding}`,
  files: (files, narInfo, narUrl) => {
    const url = which === 'nar' ? narUrl : narInfo;
    files.set(url, { body: encode(Buffer.from(files.get(url)?.body ?? '')), headers: { 'content-encoding': coding } });
  },
});
const program =
  (name: string, ...args: string[]) =>
  (bytes: Buffer): Buffer =>
    Buffer.from(execaSync(name, args, { input: bytes, encoding: 'buffer' }).stdout);
const QUIRKS: readonly Quirk[] = [
  { name: 'none' },
  ...[301, 302, 307, 308].map((code) => ({ name: `${code} for the NAR`, handle: redirect(code, isNar) })),
  { name: '302 for the narinfo', handle: redirect(302, isNarInfo) },
  {
    name: 'a signed URL: HEAD is 403, no FileSize',
    text: without('FileSize'),
    handle: (request, response) =>
      (request.method === 'HEAD' && status(403)(response)) || redirect(307, isNar)(request, response, 0),
  },
  ...[405, 501].map((code) => ({
    name: `${code} for HEAD`,
    text: without('FileSize', 'FileHash'),
    handle: ((request, response) => request.method === 'HEAD' && status(code)(response)) as Handler,
  })),
  encoded('narInfo', 'gzip', gzipSync),
  encoded('narInfo', 'br', brotliCompressSync),
  encoded('nar', 'gzip', gzipSync),
  encoded('nar', 'br', brotliCompressSync),
  encoded('nar', 'zstd', zstdCompressSync),
  { name: '500 twice for the narinfo', handle: first(2, isNarInfo, status(500)) },
  { name: '503 twice for the NAR', handle: first(2, isNar, status(503)) },
  { name: '429 once', handle: first(1, isNarInfo, status(429, { 'retry-after': '1' })) },
  { name: 'an HTML page for the narinfo, three times', handle: first(3, isNarInfo, status(200)) },
  { name: '520 once', handle: first(1, isNarInfo, status(520)) },
  { name: '202 once for the NAR', handle: first(1, isNar, status(202)) },
  {
    name: 'a reset for the narinfo',
    handle: (request, response, seen) => {
      if (!isNarInfo(request) || seen > 1) return false;
      response.destroy();
      return true;
    },
  },
  ...[401, 403, 410].map((code) => ({ name: `${code} for the narinfo`, handle: first(99, isNarInfo, status(code)) })),
  ...[403, 404, 410].map((code) => ({ name: `${code} for the NAR`, handle: first(99, isNar, status(code)) })),
  {
    name: 'an answer after three seconds',
    handle: (request, response, seen) => {
      const { url = '' } = request;
      if (!isNarInfo(request) || url.includes('moved') || seen > 1) return false;
      setTimeout(() => response.writeHead(302, { location: `/moved${url}` }).end(), 3000);
      return true;
    },
  },
  { name: 'chunked bodies', files: (files) => chunked(files) },
  { name: 'chunked bodies, no FileSize', text: without('FileSize'), files: (files) => chunked(files) },
  {
    name: 'connections closed',
    handle: (_request, response) => {
      response.setHeader('connection', 'close');
      return false;
    },
  },
  { name: 'no optional fields', text: without('FileSize', 'FileHash', 'Deriver', 'References') },
  { name: 'CRLF', text: (text) => text.replaceAll('\n', '\r\n') },
  { name: 'unknown fields', text: (text) => `${text}X-Unknown: yes\nSystem: x86_64-linux\n` },
  { name: 'several signatures', text: (text) => `${text}Sig: other-1:${'A'.repeat(86)}==\n` },
  { name: 'Deriver: unknown-deriver', text: (text) => `${text}Deriver: unknown-deriver\n` },
  { name: 'fields in another order', text: (text) => `${text.trimEnd().split('\n').reverse().join('\n')}\n` },
  { name: 'a URL with a query', info: (info) => ({ ...info, url: `${info.url}?hash=x` }) },
  { name: 'a URL in another directory', info: (info) => ({ ...info, url: 'some/other/dir/file.nar' }) },
  { name: 'a URL with escapes', info: (info) => ({ ...info, url: 'nar/a%2Bb%2bc.nar' }) },
  { name: 'a URL with ./', info: (info) => ({ ...info, url: './nar/file.nar' }) },
  { name: 'HTML for a narinfo', files: (files, url) => void files.set(url, { body: '<html>Welcome</html>' }) },
  ...['none', 'xz', 'zstd', 'gzip', 'br'].map((compression) => ({
    name: `compression ${compression}`,
    compression,
    pack: {
      none: (bytes: Buffer) => bytes,
      xz: xz.compressSync,
      zstd: zstdCompressSync,
      gzip: gzipSync,
      br: brotliCompressSync,
    }[compression] as (bytes: Buffer) => Buffer,
  })),
  { name: 'compression bzip2', compression: 'bzip2', pack: program('bzip2', '-c') },
  {
    name: 'compression bzip2, not named',
    compression: 'bzip2',
    pack: program('bzip2', '-c'),
    text: without('Compression'),
  },
  { name: 'compression lz4', compression: 'lz4', pack: program('lz4', '-c') },
  { name: 'compression lzma', compression: 'lzma', pack: program('xz', '--format=lzma', '-c') },
  ...['none', 'xz'].map((compression) => ({
    name: `compression ${compression}, no FileHash and FileSize`,
    compression,
    pack: (bytes: Buffer) => (compression === 'xz' ? xz.compressSync(bytes) : bytes),
    text: without('FileHash', 'FileSize'),
  })),
  encoded('narInfo', 'zstd', zstdCompressSync),
  {
    name: 'a relative Location',
    handle: (request, response) =>
      isNar(request) &&
      !request.url?.includes('moved') &&
      status(302, { location: `../moved${request.url}` })(response),
  },
  ...[204, 206].map((code) => ({
    name: `${code} for a whole NAR`,
    handle: ((request, response) => isNar(request) && status(code)(response)) as Handler,
  })),
  { name: 'an empty narinfo', files: (files, url) => void files.set(url, { body: '' }) },
  { name: 'CRLF at the end alone', text: (text) => text.replace(/\n$/, '\r\n') },
  { name: 'no newline at the end', text: (text) => text.trimEnd() },
  {
    name: '404 with a page for the narinfo',
    handle: (request, response) => {
      if (!isNarInfo(request)) return false;
      response.writeHead(404, { 'content-type': 'text/html' }).end('<html>StorePath: x</html>\n');
      return true;
    },
  },
  ...[404, 403, 410, 401, 500].map((code) => ({
    name: `${code} for nix-cache-info`,
    handle: (({ url }, response) => url === '/nix-cache-info' && status(code)(response)) as Handler,
  })),
  {
    name: 'WantMassQuery: 0',
    files: (files) =>
      void files.set('/nix-cache-info', { body: 'StoreDir: /nix/store\nWantMassQuery: 0\nPriority: 90\n' }),
  },
  { name: 'a sub-path', base: '/my/cache' },
  { name: 'a trailing slash', base: '/my/cache/' },
  { name: 'a login in the URL', login: 'me:secret@' },
  {
    name: 'no nix-cache-info fields',
    files: (files) => void files.set('/nix-cache-info', { body: '' }),
  },
];

async function serveThrough(upstreamUrl: string, { onTestFinished }: Cleanup): Promise<string> {
  const http = new HttpClient();
  const upstream = new Upstream(parseUpstream(upstreamUrl), { http, patience: PROMPT });
  const server = await startServer({ reader: new MemoryCacheReader(), upstreams: [upstream], port: 0, drainMs: 0 });
  onTestFinished(async () => {
    await server.close();
    await http.destroy();
  });
  return server.url;
}

const [machines] = NIX_VERSIONS;
const newest = NIX_VERSIONS.at(-1);
/** What a newer Nix might read in another way: redirects, codings, URLs and compressions. All take long. */
const NEWEST = /^(none|30[12] for|narInfo with|nar with|a URL|chunked|CRLF|compression (none|zstd|bzip2)$)/;

describe.each([machines, newest].filter((nix) => nix !== undefined))('$name', (nix) => {
  beforeAll(() => requireNix(nix));

  const quirks = nix === machines ? QUIRKS : QUIRKS.filter(({ name }) => NEWEST.test(name));
  it.concurrent.for(quirks)('gets through serve what it gets directly: $name', async (quirk, test) => {
    const [direct, through] = await Promise.all([
      startQuirky(quirk, test).then((url) => substitutes(url, nix.bin)),
      startQuirky(quirk, test)
        .then((url) => serveThrough(url, test))
        .then((url) => substitutes(url, nix.bin)),
    ]);
    expect({ direct, through: through || !direct }).toEqual({ direct, through: true });
    if (quirk.name === 'none') expect(direct).toBe(true);
    // Of one substituter alone not every Nix asks again.
    if (quirk.name.includes('HTML page')) expect(through).toBe(true);
  });
});

/** A server of HTTP/1.0, whose answers end with their connection. */
async function startOld(quirky: string, { onTestFinished }: Cleanup): Promise<string> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (head) => {
      const [, url = ''] = /^GET (\S+)/.exec(head.toString('latin1')) ?? [];
      void fetch(new URL(url, quirky)).then(async (response) => {
        const body = Buffer.from(await response.arrayBuffer());
        socket.end(Buffer.concat([Buffer.from(`HTTP/1.0 ${response.status} X\r\n\r\n`), body]));
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

it('a cache of HTTP/1.0 that says no lengths is no worse through serve', async (test) => {
  const quirk: Quirk = { name: 'old', text: without('FileSize', 'FileHash') };
  const direct = await substitutes(await startOld(await startQuirky(quirk, test), test), undefined);
  const through = await substitutes(
    await serveThrough(await startOld(await startQuirky(quirk, test), test), test),
    undefined,
  );
  expect({ direct, through }).toEqual({ direct: true, through: true });
});
