import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient, type HttpClientOptions } from '../../src/http/client.ts';
import { tempDir } from '../support/temp-dir.ts';

function open(options: HttpClientOptions = {}): HttpClient {
  const client = new HttpClient(options);
  onTestFinished(() => client.destroy());
  return client;
}

async function serve(listener: RequestListener): Promise<{ readonly url: string; readonly seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const server: Server = createServer((request, response) => {
    seen.push(request);
    listener(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const secrets = { authorization: 'Bearer secret', cookie: 'a=b', accept: 'text/plain' };

describe('redirects', () => {
  it('take credentials along within an origin and nowhere else', async () => {
    const far = await serve((_, response) => response.end('far'));
    const near = await serve((request, response) => {
      const location = request.url === '/one' ? '/two' : far.url;
      response.writeHead(307, { location }).end();
    });
    const { body, url } = await open().request({ url: `${near.url}/one`, headers: secrets });
    expect(await text(body)).toBe('far');
    expect(url.origin).toBe(far.url);
    expect(near.seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer secret', 'Bearer secret']);
    expect(far.seen[0]?.headers).toMatchObject({ accept: 'text/plain' });
    expect(far.seen[0]?.headers).not.toHaveProperty('authorization');
    expect(far.seen[0]?.headers).not.toHaveProperty('cookie');
  });

  it('do not give credentials back to the first origin after a detour', async () => {
    const near = await serve((request, response) => {
      if (request.url === '/one') response.writeHead(302, { location: far.url }).end();
      else response.end('back');
    });
    const far = await serve((_, response) => response.writeHead(302, { location: `${near.url}/two` }).end());
    await text((await open().request({ url: `${near.url}/one`, headers: secrets })).body);
    expect(near.seen[1]?.headers.authorization).toBeUndefined();
  });

  it('end after five', async () => {
    const server = await serve((_, response) => response.writeHead(302, { location: '/again' }).end());
    await expect(open().request({ url: server.url })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      message: /5 redirects/,
    });
    expect(server.seen).toHaveLength(6);
  });

  it('are handed back when not wanted, and always after anything but GET and HEAD', async () => {
    const server = await serve((_, response) => response.writeHead(307, { location: '/x' }).end());
    const client = open();
    expect((await client.request({ url: server.url, maxRedirects: 0 })).status).toBe(307);
    expect((await client.request({ method: 'PUT', url: server.url, body: Buffer.from('x') })).status).toBe(307);
    expect(server.seen).toHaveLength(2);
  });
});

describe('a request', () => {
  it('says who we are', async () => {
    const server = await serve((_, response) => response.end());
    await text((await open().request({ url: server.url })).body);
    expect(server.seen[0]?.headers['user-agent']).toMatch(/^nixcache\/\d+\.\d+\.\d+/);
  });

  it('uses its connection again, also after HEAD and after a discarded redirect', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/away') response.writeHead(302, { location: '/' }).end('see there');
      else response.end('here');
    });
    const client = open();
    for (const [method, path] of [
      ['HEAD', '/'],
      ['GET', '/'],
      ['GET', '/away'],
      ['HEAD', '/'],
      ['GET', '/'],
    ] as const) {
      await text((await client.request({ method, url: server.url + path })).body);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(new Set(server.seen.map(({ socket }) => socket.remotePort)).size).toBe(1);
  });

  it('fails when no answer comes in time', async () => {
    const server = await serve(() => {});
    await expect(open().request({ url: server.url, timeoutMs: 50 })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      retryable: true,
      message: /no answer within/,
    });
  });

  it('fails when the body stalls, however long it may take as a whole', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('begun');
    });
    const { body } = await open().request({ url: server.url, timeoutMs: 10_000, stallTimeoutMs: 100 });
    await expect(text(body)).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      retryable: true,
      message: /stopped sending/,
    });
  });

  it('fails when what it sends is not taken', async () => {
    const tcp = createTcpServer((socket) => socket.pause());
    await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void tcp.close());
    const body = Readable.from(endless());
    const url = `http://127.0.0.1:${(tcp.address() as AddressInfo).port}`;
    const sent = open().request({ method: 'PUT', url, body, stallTimeoutMs: 100 });
    await expect(sent).rejects.toMatchObject({ code: 'ERR_NETWORK', message: /nothing could be sent/ });
    expect(body.destroyed).toBe(true);
  });

  it('breaks with our error when the connection is cut in the body', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('begun', () => response.destroy());
    });
    const { body } = await open().request({ url: server.url });
    await expect(text(body)).rejects.toMatchObject({ code: 'ERR_NETWORK', retryable: true });
  });

  it('destroys the stream it sends when the answer comes early', async () => {
    const server = await serve((_, response) => response.writeHead(413).end('too large'));
    const body = Readable.from(endless());
    const answer = await open().request({ method: 'PUT', url: server.url, body });
    expect(answer.status).toBe(413);
    await text(answer.body).catch(() => {});
    await expect.poll(() => body.destroyed).toBe(true);
  });

  it('destroys the stream it was to send when it is never sent', async () => {
    const body = Readable.from(endless());
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(open().request({ method: 'PUT', url: await unusedUrl(), body, signal })).rejects.toThrow('enough');
    expect(body.destroyed).toBe(true);
    const refused = Readable.from(endless());
    await expect(open().request({ method: 'PUT', url: await unusedUrl(), body: refused })).rejects.toThrow('refused');
    expect(refused.destroyed).toBe(true);
  });

  it('stops with the reason of the signal: before, during and after the headers', async () => {
    const reason = new Error('enough');
    const silent = await serve(() => {});
    const slow = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('begun');
    });
    const client = open();
    await expect(client.request({ url: slow.url, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const during = new AbortController();
    const waiting = client.request({ url: silent.url, signal: during.signal });
    setTimeout(() => during.abort(reason), 10);
    await expect(waiting).rejects.toBe(reason);
    const after = new AbortController();
    const { body } = await client.request({ url: slow.url, signal: after.signal });
    setTimeout(() => after.abort(reason), 10);
    await expect(text(body)).rejects.toBe(reason);
  });
});

describe('what is wrong below HTTP', () => {
  it('is said of a port where no one listens, with a hint', async () => {
    const url = await unusedUrl();
    await expect(open().request({ url })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      retryable: true,
      message: `GET ${url}/: ${new URL(url).host} refused the connection; is a server running there, and is the port right?`,
    });
  });

  it('is said of a host that does not exist, and not tried again', async () => {
    await expect(open().request({ url: 'https://no-such-host.invalid/v2/' })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      host: 'no-such-host.invalid',
    });
  });

  it('is said of a server without TLS where TLS was wanted', async () => {
    const server = await serve((_, response) => response.end());
    const url = server.url.replace('http:', 'https:');
    await expect(open().request({ url })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      retryable: false,
      message: expect.stringContaining('--plain-http'),
    });
  });

  it('is said of a certificate that no known authority signed, and not tried again', async () => {
    const directory = await tempDir();
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const name = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    await execa('openssl', [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      ...name,
      '-keyout',
      key,
      '-out',
      cert,
    ]);
    const server = createTlsServer({ key: await readFile(key), cert: await readFile(cert) }, (_, response) =>
      response.end(),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(open().request({ url: `https://${host}/` })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      retryable: false,
      message: expect.stringMatching(/certificate of .* was not accepted .*NODE_EXTRA_CA_CERTS/),
    });
  });

  it('is said without the credentials in the URL', async () => {
    const url = (await unusedUrl()).replace('http://', 'http://user:hunter2@');
    const error: unknown = await open()
      .request({ url: `${url}/x?sig=hunter2` })
      .catch((thrown: unknown) => thrown);
    expect(String(error)).toContain('sig=***');
    expect(String(error)).not.toContain('hunter2');
  });
});

describe('a proxy', () => {
  it('is never asked for loopback', async () => {
    const server = await serve((_, response) => response.end('direct'));
    const { body } = await open({ proxy: await unusedUrl() }).request({ url: server.url });
    expect(await text(body)).toBe('direct');
  });

  it('is asked for everything else', async () => {
    const asked: string[] = [];
    const target = await serve((_, response) => response.end('through the proxy'));
    const proxy = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.end('through the proxy');
    });
    proxy.on('connect', (request, socket, head) => {
      asked.push(request.url ?? '');
      const upstream = connect(Number(new URL(target.url).port), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        upstream.write(head);
        upstream.pipe(socket).pipe(upstream);
      });
      upstream.on('error', () => socket.destroy());
      socket.on('error', () => upstream.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      proxy.closeAllConnections();
      proxy.close();
    });
    const client = open({ proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` });
    const { body } = await client.request({ url: 'http://cache.example/nix-cache-info' });
    expect(await text(body)).toBe('through the proxy');
    expect(asked[0]).toContain('cache.example');
  });
});

function* endless(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(64 * 1024);
}

async function unusedUrl(): Promise<string> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}
