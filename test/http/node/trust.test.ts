import { open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Environment } from '../../../src/environment.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import { placeOddFile } from '../../support/odd-files.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { makeCertificate, startTlsServer } from '../../support/tls-server.ts';
import { serve } from '../far-side.ts';

/** A server with a certificate that it made itself, in a file. */
async function startTls(): Promise<{ readonly url: string; readonly file: string }> {
  const certificate = await makeCertificate(undefined);
  return { url: `https://${await startTlsServer(certificate)}/`, file: certificate.cert };
}

async function ask(url: string, env: Environment, signal?: AbortSignal): Promise<number> {
  const client = new HttpClient({ env });
  onTestFinished(() => client.destroy());
  const { status, body } = await client.request({ url, signal });
  body.destroy();
  return status;
}

describe('a private authority', () => {
  it('is believed where NIX_SSL_CERT_FILE or SSL_CERT_FILE names it, the first before the second', async () => {
    const { url, file } = await startTls();
    await expect(ask(url, {})).rejects.toMatchObject({ message: expect.stringContaining('NIX_SSL_CERT_FILE') });
    expect(await ask(url, { SSL_CERT_FILE: file })).toBe(200);
    expect(await ask(url, { NIX_SSL_CERT_FILE: file, SSL_CERT_FILE: '/nowhere' })).toBe(200);
    expect(await ask(url, { NIX_SSL_CERT_FILE: '', SSL_CERT_FILE: file })).toBe(200);
  });

  it.each(['pipe', 'socket', 'endless device', 'directory', 'huge file'] as const)(
    'is not looked for without end where its file is this: %s',
    async (kind) => {
      const { url } = await startTls();
      const file = join(await tempDir(), 'ca.pem');
      if (kind === 'huge file') {
        await writeFile(file, '');
        await truncate(file, 1024 ** 3);
      } else {
        await placeOddFile(file, kind);
      }
      const asked = expect(ask(url, { NIX_SSL_CERT_FILE: file })).rejects;
      await asked.toMatchObject({ code: 'ERR_USAGE', message: /^NIX_SSL_CERT_FILE names .*, which cannot be read: / });
    },
  );

  it('holds nobody up who has given up, where its file is a pipe that is not at its end', async () => {
    const { url } = await startTls();
    const file = join(await tempDir(), 'ca.pem');
    await placeOddFile(file, 'pipe');
    await using writer = await open(file, 'r+');
    await writer.write('-----BEGIN');
    const controller = new AbortController();
    const asked = ask(url, { SSL_CERT_FILE: file }, controller.signal);
    controller.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
  });

  it.each([
    ['is not there', undefined, /SSL_CERT_FILE names .*, which cannot be read/],
    ['holds none', 'garbage', /which holds no certificate/],
    [
      'holds a damaged one',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      /in which a certificate is damaged/,
    ],
  ])('is asked for by name when its file %s, and only for TLS', async (_what, text, message) => {
    const { url } = await startTls();
    const plain = await serve((_, response) => response.end());
    const file = join(await tempDir(), 'ca.pem');
    if (text !== undefined) await writeFile(file, text);
    await expect(ask(url, { SSL_CERT_FILE: file })).rejects.toMatchObject({ code: 'ERR_USAGE', message });
    expect(await ask(plain.url, { SSL_CERT_FILE: file })).toBe(200);
  });
});
