import { readFile } from 'node:fs/promises';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Environment } from '../../../src/environment.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import { findScheme, wantsTls } from '../../../src/oci/remote/scheme.ts';
import { serve, unusedUrl } from '../../http/far-side.ts';
import { tempDir } from '../../support/temp-dir.ts';

async function schemeAt(host: string, env: Environment = {}): Promise<string> {
  const http = new HttpClient({ env });
  onTestFinished(() => http.destroy());
  return findScheme({ kind: 'registry', host, repository: 'x' }, { http, plainHttp: false });
}

/** A server with a certificate that nobody signed. */
async function serveTls(): Promise<string> {
  const directory = await tempDir();
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const files = ['-keyout', key, '-out', cert];
  await execa('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=x', ...files]);
  const server = createTlsServer({ key: await readFile(key), cert: await readFile(cert) }, (_, response) =>
    response.end(),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('a registry on this machine', () => {
  it('is spoken to without TLS if it answers so, whatever it answers', async () => {
    for (const status of [200, 401, 404, 400, 500]) {
      const { url } = await serve((_, response) => response.writeHead(status).end('no'));
      expect(await schemeAt(new URL(url).host)).toBe('http');
    }
  });

  it('is not listened to until its answer ends', async () => {
    const { url } = await serve((_, response) => void response.writeHead(200).write('x'));
    expect(await schemeAt(new URL(url).host)).toBe('http');
  });

  it('is spoken to with TLS if it says so', async () => {
    const { url } = await serve((_, response) =>
      response.writeHead(400).end('Client sent an HTTP request to an HTTPS server.\n'),
    );
    expect(await schemeAt(new URL(url).host)).toBe('https');
  });

  it('is spoken to with TLS if it hangs up on anything else, though its certificate be bad', async () => {
    expect(await schemeAt(await serveTls())).toBe('https');
  });

  it('is not asked with TLS where the certificates to trust cannot be had, which is said', async () => {
    const env = { SSL_CERT_FILE: join(await tempDir(), 'none.pem') };
    await expect(schemeAt(await serveTls(), env)).rejects.toMatchObject({ code: 'ERR_USAGE' });
    expect(await schemeAt(new URL(await unusedUrl()).host, env)).toBe('http');
  });

  it('that is away, or speaks neither, is taken for one without', async () => {
    expect(await schemeAt(new URL(await unusedUrl()).host)).toBe('http');
    const tcp = createTcpServer((socket) => socket.on('error', () => undefined).end('SSH-2.0-x\r\n'));
    await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void tcp.close());
    expect(await schemeAt(`127.0.0.1:${(tcp.address() as AddressInfo).port}`)).toBe('http');
  });
});

it('a reference or a flag tells without asking', async () => {
  const http = { request: () => Promise.reject(new Error('asked')) };
  const reference = { kind: 'registry', host: 'localhost:1', repository: 'x' } as const;
  expect(await findScheme({ ...reference, scheme: 'https' }, { http, plainHttp: false })).toBe('https');
  expect(await findScheme({ ...reference, scheme: 'http' }, { http, plainHttp: false })).toBe('http');
  expect(await findScheme(reference, { http, plainHttp: true })).toBe('http');
  expect(await findScheme({ ...reference, host: 'ghcr.io' }, { http, plainHttp: false })).toBe('https');
});

it.each([
  ['Client sent an HTTP request to an HTTPS server.', true],
  ['<center>The plain HTTP request was sent to HTTPS port</center>', true],
  ["Reason: You're speaking plain HTTP to an SSL-enabled server port.", true],
  ['{"errors":[{"code":"NAME_INVALID"}]}', false],
])('%s', (body, expected) => expect(wantsTls(body)).toBe(expected));
