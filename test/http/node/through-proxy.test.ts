import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { Readable } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../../src/http/node/client.ts';
import { unusedUrl } from '../far-side.ts';

function open(env: Readonly<Record<string, string>>): HttpClient {
  const client = new HttpClient({ env });
  onTestFinished(() => client.destroy());
  return client;
}

/** A proxy that answers everything with `status`; what it was asked for, and with which login. */
async function refusing(status: number) {
  const asked: (string | undefined)[] = [];
  const logins: (string | undefined)[] = [];
  const proxy = createServer((request, response) => {
    asked.push(request.url);
    logins.push(request.headers['proxy-authorization']);
    response.writeHead(status).end();
  });
  proxy.on('connect', (request, socket) => {
    asked.push(request.url);
    logins.push(request.headers['proxy-authorization']);
    socket.on('error', () => undefined).end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return { asked, logins, host: `127.0.0.1:${(proxy.address() as AddressInfo).port}` };
}

describe('what a proxy refuses', () => {
  it.each([
    [407, 'wants a login (407)'],
    [403, 'does not let us through to ghcr.io (403)'],
    [502, 'cannot reach ghcr.io (502)'],
    [503, 'cannot reach ghcr.io (503)'],
  ])('with %d to CONNECT is final, and names proxy and variable', async (status, words) => {
    const { host, asked } = await refusing(status);
    const sent = open({ HTTPS_PROXY: host }).request({ url: 'https://ghcr.io/v2/' });
    await expect(sent).rejects.toMatchObject({ code: 'ERR_NETWORK', retryable: false });
    await expect(sent).rejects.toThrow(`the proxy ${host} (HTTPS_PROXY) ${words}`);
    expect(asked).toEqual(['ghcr.io:443']);
  });

  it('with 407 to a plain request is final too', async () => {
    const { host } = await refusing(407);
    const sent = open({ http_proxy: `http://${host}` }).request({ url: 'http://cache.example/x' });
    await expect(sent).rejects.toMatchObject({ code: 'ERR_NETWORK', retryable: false });
    await expect(sent).rejects.toThrow(`the proxy ${host} (http_proxy) wants a login (407)`);
  });

  it('is told with the decoded login, which no error repeats', async () => {
    const { host, logins } = await refusing(403);
    const sent = open({ HTTPS_PROXY: `me:hunter%402@${host}` }).request({ url: 'https://ghcr.io/v2/' });
    await expect(sent).rejects.not.toThrow(/hunter/);
    expect(logins).toEqual([`Basic ${Buffer.from('me:hunter@2').toString('base64')}`]);
  });
});

it('names a proxy that is not there, not the host behind it', async () => {
  const { host } = new URL(await unusedUrl());
  await expect(open({ ALL_PROXY: host }).request({ url: 'https://ghcr.io/v2/' })).rejects.toThrow(
    `the proxy ${host} (ALL_PROXY) refused the connection`,
  );
});

it('gives up what it should send, and says which variable, when that holds no proxy', async () => {
  const body = new Readable({ read: () => undefined });
  const client = open({ HTTPS_PROXY: 'ftp://x' });
  const sent = client.request({ method: 'PUT', url: 'https://ghcr.io/v2/', body });
  await expect(sent).rejects.toMatchObject({ code: 'ERR_USAGE', message: expect.stringMatching(/^HTTPS_PROXY/) });
  expect(body.destroyed).toBe(true);
});

describe('a SOCKS proxy', () => {
  /** Wants a login, and then refuses to connect with `reply`. */
  async function socks(reply: number) {
    const logins: string[] = [];
    const hosts: string[] = [];
    const server = createTcpServer((socket) => {
      let step = 0;
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        step += 1;
        if (step === 1) socket.write(Buffer.from([5, 2]));
        else if (step === 2) {
          logins.push(
            data
              .subarray(2)
              .toString('latin1')
              .replaceAll(/[^ -~]/g, '/'),
          );
          socket.write(Buffer.from([1, 0]));
        } else {
          hosts.push(data.subarray(5, -2).toString());
          socket.end(Buffer.from([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]));
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    return { logins, hosts, host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
  }

  it('gets login and name of the host, and its refusal is final', async () => {
    const { logins, hosts, host } = await socks(2);
    const sent = open({ ALL_PROXY: `socks5h://me:p%40ss@${host}` }).request({ url: 'https://ghcr.io/v2/' });
    await expect(sent).rejects.toMatchObject({ code: 'ERR_NETWORK', retryable: false });
    await expect(sent).rejects.toThrow(`the proxy ${host} (ALL_PROXY) does not let us through to ghcr.io`);
    expect(logins).toEqual(['me/p@ss']);
    expect(hosts).toEqual(['ghcr.io']);
  });
});
