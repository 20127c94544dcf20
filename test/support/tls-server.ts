/** Servers with certificates made for the test, sound or not, by the openssl program. */
import { readFile, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';
import { tempDir } from './temp-dir.ts';

/** An authority of its own. */
export interface TestAuthority {
  readonly directory: string;
  /** PEM; for NIX_SSL_CERT_FILE. */
  readonly file: string;
}

interface TestCertificate {
  readonly key: string;
  readonly cert: string;
}

export interface CertificateTraits {
  /** Default: IP:127.0.0.1. */
  readonly names?: string;
  /** As `YYYYMMDDHHMMSSZ`; default: from yesterday to tomorrow. */
  readonly from?: string;
  readonly until?: string;
}

const CONFIG = `[ca]
default_ca = own
[own]
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = any
copy_extensions = copy
email_in_dn = no
[any]
commonName = optional
`;

const openssl = (cwd: string, ...args: string[]) => execa('openssl', args, { cwd });

export async function makeAuthority(): Promise<TestAuthority> {
  const directory = await tempDir();
  const file = join(directory, 'ca.pem');
  const subject = ['-subj', '/CN=test authority', '-days', '2'];
  await openssl(
    directory,
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    ...subject,
    '-keyout',
    'ca.key',
    '-out',
    file,
  );
  await writeFile(join(directory, 'ca.conf'), CONFIG);
  await writeFile(join(directory, 'index.txt'), '');
  await writeFile(join(directory, 'serial'), '01\n');
  return { directory, file };
}

const DAY_MS = 24 * 60 * 60 * 1000;
const stamp = (days: number): string =>
  `${new Date(Date.now() + days * DAY_MS).toISOString().replaceAll(/[-:T]|\.\d+Z$/g, '')}Z`;

/** Signed by `authority`, or by itself. */
export async function makeCertificate(
  authority: TestAuthority | undefined,
  { names = 'IP:127.0.0.1', from = stamp(-1), until = stamp(1) }: CertificateTraits = {},
): Promise<TestCertificate> {
  const directory = await tempDir();
  const [key, cert, request] = ['key.pem', 'cert.pem', 'request.pem'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  const asked = ['-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=server', '-addext', `subjectAltName=${names}`];
  if (authority === undefined) {
    await openssl(directory, 'req', '-x509', ...asked, '-keyout', key, '-out', cert);
  } else {
    await openssl(directory, 'req', ...asked, '-keyout', key, '-out', request);
    const signing = ['-batch', '-notext', '-config', 'ca.conf', '-cert', 'ca.pem', '-keyfile', 'ca.key'];
    const dates = ['-startdate', from, '-enddate', until];
    await openssl(authority.directory, 'ca', ...signing, ...dates, '-in', request, '-out', cert);
  }
  return { key, cert };
}

/** Its host and port; closed with the test. Two servers of one test may not be made at once by one authority. */
export async function startTlsServer(
  { key, cert }: TestCertificate,
  answer: RequestListener = (_, response) => response.end(),
): Promise<string> {
  const server = createServer({ key: await readFile(key), cert: await readFile(cert) }, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
