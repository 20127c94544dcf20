import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { Readable } from 'node:stream';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { HttpClient, type HttpClientOptions } from '../../../src/http/node/client.ts';
import { makeCertificate, startTlsServer } from '../../support/tls-server.ts';
import { endless, serve, text, unusedUrl } from '../far-side.ts';

function open(options: HttpClientOptions = {}): HttpClient {
  const client = new HttpClient(options);
  onTestFinished(() => client.destroy());
  return client;
}

// The first of all: undici is loaded with the first request.
it('fails with what broke its body, also while nothing is open yet', async () => {
  const server = await serve((_, response) => response.end());
  const body = new Readable({ read: () => undefined });
  const sent = open().request({ method: 'PUT', url: server.url, body });
  body.destroy(new Error('the disk is gone'));
  await expect(sent).rejects.toThrow('the disk is gone');
});

describe('a connection', () => {
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
});

describe('large bodies', () => {
  it('held up by their readers leave connections to small requests, and wait for one another without failing', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/small') response.end('small');
      else Readable.from(endless()).pipe(response);
    });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const client = open({ connections: 1 });
    const large = { url: `${server.url}/large`, bulk: true, timeoutMs: 1000 };
    const held = await client.request(large);
    const waiting = client.request(large);
    const small = await Promise.all(
      Array.from({ length: 5 }, async () => text((await client.request({ url: `${server.url}/small` })).body)),
    );
    expect(small).toEqual(Array.from({ length: 5 }, () => 'small'));
    // Longer than an answer may take.
    await vi.advanceTimersByTimeAsync(1200);
    expect(server.seen.filter(({ url }) => url === '/large')).toHaveLength(1);
    held.body.destroy();
    const { status, body } = await waiting;
    expect(status).toBe(200);
    body.destroy();
  });

  it('that never begin fail all the same', async () => {
    const server = await serve(() => {});
    await expect(open().request({ url: server.url, bulk: true, timeoutMs: 50 })).rejects.toMatchObject({
      message: /no answer within/,
    });
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
    const host = await startTlsServer(await makeCertificate(undefined));
    await expect(open().request({ url: `https://${host}/` })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      retryable: false,
      message: expect.stringMatching(/certificate of .* is signed by itself.*NODE_EXTRA_CA_CERTS/),
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

it('a body that drips has stalled, and one that its reader leaves waiting has not', async () => {
  const far = await serve((request, response) => {
    if (request.url === '/whole') response.end(Buffer.alloc(2000));
    else {
      const timer = setInterval(() => response.write('x'), 20);
      response.once('close', () => clearInterval(timer));
    }
  });
  const client = open();
  const dripping = await client.request({ url: far.url, stallTimeoutMs: 200 });
  const waiting = await client.request({ url: `${far.url}/whole`, stallTimeoutMs: 200 });
  await expect(text(dripping.body)).rejects.toMatchObject({ code: 'ERR_NETWORK', retryable: true });
  expect(await text(waiting.body)).toHaveLength(2000);
});
