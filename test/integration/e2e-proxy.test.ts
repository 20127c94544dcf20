/** The command as it is installed goes through proxies of both kinds: its bundle holds less of undici than the sources use. */
import { createServer, request } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { nixcache } from '../support/e2e-cli.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { tempDir } from '../support/temp-dir.ts';
import { makeAuthority, makeCertificate, startTlsServer } from '../support/tls-server.ts';

const HOST = 'registry.example';

/** A registry behind TLS by the name that only a proxy knows; its port, and the certificate to trust. */
async function startRegistry() {
  const registry = await FakeRegistry.start();
  onTestFinished(() => registry.close());
  const authority = await makeAuthority();
  const certificate = await makeCertificate(authority, { names: `DNS:${HOST}` });
  const address = await startTlsServer(certificate, (from, to) => {
    const asked = { method: from.method, path: from.url, headers: from.headers };
    from.pipe(
      request(`http://${registry.host}`, asked, (answer) => {
        to.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(to);
      }),
    );
  });
  return { registry, port: Number(address.split(':')[1]), trusted: authority.file };
}

async function listen(server: Server, sockets: Set<Socket>): Promise<string> {
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function join(one: Socket, port: number, sockets: Set<Socket>, greeting: string | Buffer): void {
  const other = connect(port, '127.0.0.1', () => {
    one.write(greeting);
    one.pipe(other).pipe(one);
  });
  sockets.add(other.on('error', () => one.destroy()));
}

/** Leads everybody to `port`; what it was asked for. */
async function startHttpProxy(port: number) {
  const asked: (string | undefined)[] = [];
  const sockets = new Set<Socket>();
  const server = createServer().on('connect', (wanted, socket: Socket) => {
    asked.push(wanted.url);
    join(socket, port, sockets, 'HTTP/1.1 200 OK\r\n\r\n');
  });
  return { asked, url: `http://${await listen(server, sockets)}` };
}

/** The same by RFC 1928, for names. */
async function startSocksProxy(port: number) {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    socket.once('data', () => {
      socket.once('data', (wanted) => {
        const length = wanted[4] ?? 0;
        asked.push(`${wanted.toString('utf8', 5, 5 + length)}:${wanted.readUInt16BE(5 + length)}`);
        join(socket, port, sockets, Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
      });
      socket.write(Buffer.from([5, 0]));
    });
  });
  return { asked, url: `socks5://${await listen(server, sockets)}` };
}

it.each([
  ['HTTP', startHttpProxy],
  ['SOCKS', startSocksProxy],
])('reaches a registry through an %s proxy', async (_kind, startProxy) => {
  const { registry, port, trusted } = await startRegistry();
  const proxy = await startProxy(port);
  const env = { PATH: process.env['PATH'] ?? '', HOME: await tempDir(), HTTPS_PROXY: proxy.url };
  const cache = `${HOST}/team/cache`;
  const result = await nixcache(['list', '--cache', cache], { env: { ...env, NIX_SSL_CERT_FILE: trusted } });
  expect(result.stderr).toContain(`there is no cache at ${cache}`);
  expect(new Set(proxy.asked)).toEqual(new Set([`${HOST}:443`]));
  expect(registry.requests.map(({ path }) => path.split('?')[0])).toContain('/v2/team/cache/tags/list');
});
