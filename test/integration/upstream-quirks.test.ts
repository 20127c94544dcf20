/**
 * What Nix substitutes from a cache directly, it substitutes through `serve`: one server with a table of the quirks that real
 * caches have, each asked both ways.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { basename, join } from 'node:path';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { execa, execaSync } from 'execa';
import { beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { hashFromBytes, hashToBase32 } from '../../src/nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../../src/nix/nar-info.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { hashPartOf, type StorePath } from '../../src/nix/store-path.ts';
import { startServer } from '../../src/serve/node/server.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';
import { createNixClient, createNixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const key = generateKey('quirks-1');
let path: StorePath;
let nar: Buffer;

beforeAll(async () => {
  const nix = await createNixEnv();
  const options = { env: nix.env, extendEnv: false } as const;
  try {
    const expression = `builtins.toFile "quirky" "${'hello '.repeat(5000)}"`;
    const made = await execa('nix-instantiate', ['--eval', '--json', '--read-write-mode', '-E', expression], options);
    path = JSON.parse(made.stdout);
    const dumped = await execa('nix-store', ['--dump', join(nix.realStoreDir, basename(path))], {
      ...options,
      encoding: 'buffer',
    });
    nar = Buffer.from(dumped.stdout);
  } finally {
    await nix.cleanup();
  }
});

const sha256 = (bytes: Buffer) => hashFromBytes(createHash('sha256').update(bytes).digest());

interface File {
  readonly body: Buffer | string;
  readonly headers?: Readonly<Record<string, string>>;
}
type Files = Map<string, File>;
/** Answers, and returns true, or leaves it to the files. */
type Handler = (request: IncomingMessage, response: ServerResponse, seen: number) => boolean;

interface Quirk {
  readonly name: string;
  readonly pack?: (nar: Buffer) => Buffer;
  readonly compression?: string;
  readonly info?: (info: NarInfo) => NarInfo;
  readonly text?: (text: string) => string;
  readonly files?: (files: Files, narInfo: string, nar: string) => void;
  readonly handle?: Handler;
  /** What stands between host and `/nix-cache-info`. */
  readonly base?: string;
  readonly login?: string;
}

const isNarInfo = ({ url = '' }: IncomingMessage): boolean => url.includes('.narinfo');
const isNar = ({ url = '' }: IncomingMessage): boolean =>
  url.includes('nar/') && !isNarInfo({ url } as IncomingMessage);
const status =
  (code: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse): true => {
    response.writeHead(code, headers).end('no\n');
    return true;
  };
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
const without =
  (...lines: string[]) =>
  (text: string): string =>
    text
      .split('\n')
      .filter((line) => !lines.some((each) => line.startsWith(`${each}:`)))
      .join('\n');

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

/** Of its own test: many run at a time. */
type Cleanup = Pick<TestContext, 'onTestFinished'>;

const CHUNKED = 'x-test-chunked';
function chunked(files: Files): void {
  for (const [url, file] of files) files.set(url, { ...file, headers: { [CHUNKED]: 'yes' } });
}

/** Starts a cache with `quirk`, as new as for a first request. */
async function startQuirky(quirk: Quirk, { onTestFinished }: Cleanup): Promise<string> {
  const { compression = 'none', pack = (bytes) => bytes, info: edit = (info) => info, text = (same) => same } = quirk;
  const packed = pack(nar);
  const fileHash = sha256(packed);
  const signed = { path, narHash: sha256(nar), narSize: nar.length, references: [] };
  const info = edit({
    ...signed,
    ...{ compression, fileHash, fileSize: packed.length, url: `nar/${hashToBase32(fileHash)}.nar` },
    sigs: [signPathInfo(signed, parseSecretKey(key.secret))],
  });
  const [narInfoUrl, narUrl] = [`/${hashPartOf(path)}.narinfo`, `/${info.url.replace(/^\.\//, '')}`];
  const files: Files = new Map([
    ['/nix-cache-info', { body: 'StoreDir: /nix/store\nPriority: 40\n' }],
    [narInfoUrl, { body: text(formatNarInfo(info)) }],
    [narUrl, { body: packed }],
  ]);
  quirk.files?.(files, narInfoUrl, narUrl);
  const base = (quirk.base ?? '').replace(/\/$/, '');
  const seen = new Map<string, number>();
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    const count = (seen.get(url) ?? 0) + 1;
    seen.set(url, count);
    if (quirk.login !== undefined && headers.authorization !== `Basic ${btoa('me:secret')}`)
      return status(401)(response);
    if (quirk.handle?.(request, response, count)) return;
    const plain = url.replace(/^\/moved/, '');
    const file = plain.startsWith(base) ? files.get(plain.slice(base.length)) : undefined;
    if (file === undefined) return status(404)(response);
    const { [CHUNKED]: isChunked, ...told } = file.headers ?? {};
    const bytes = Buffer.from(file.body);
    response.writeHead(200, { ...told, ...(isChunked ? {} : { 'content-length': String(bytes.length) }) });
    if (method === 'HEAD') return response.end();
    response.write(bytes.subarray(0, 100));
    return response.end(bytes.subarray(100));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://${quirk.login ?? ''}127.0.0.1:${(server.address() as AddressInfo).port}${quirk.base ?? ''}`;
}

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

/** Whether a Nix with an empty store gets the path from `url`, whole and signed. */
async function substitutes(url: string, bin: string | undefined): Promise<boolean> {
  const client = await createNixClient({ substituters: [url], publicKeys: [key.public], bin });
  const options = { env: client.env, extendEnv: false, timeout: 60_000, reject: false } as const;
  try {
    if ((await execa('nix-store', ['--realise', path], options)).exitCode !== 0) return false;
    const checked = await execa('nix', ['store', 'verify', path], options);
    const hash = await execa('nix-store', ['--query', '--hash', path], options);
    return checked.exitCode === 0 && hash.stdout === sha256(nar);
  } finally {
    await client.cleanup();
  }
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
