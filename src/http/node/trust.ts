/** Whose TLS certificates are believed: as Nix, curl and Go have it, those of the file that the environment names. */
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import type { Environment } from '../../environment.ts';
import { messageOf, NixcacheError } from '../../errors.ts';
import { ioReason } from '../../io-error.ts';
import { readNamed } from '../../regular-file.ts';

/** The first that is set counts. Source: NixOS/nix src/libstore/globals.cc. */
const VARIABLES = ['NIX_SSL_CERT_FILE', 'SSL_CERT_FILE'] as const;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** 16 MiB: what browsers trust takes a quarter of one. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Of a pipe; any longer, and it is the far side that is said to keep us waiting. */
const WRITER_WAIT_MS = 3000;

let trusted: { readonly file: string; readonly done: Promise<void> } | undefined;

/**
 * Has this process believe the authorities in the file that NIX_SSL_CERT_FILE or SSL_CERT_FILE names, and those in
 * NODE_EXTRA_CA_CERTS, instead of Node's own. Does nothing where neither is set.
 *
 * @throws {NixcacheError} ERR_USAGE when the file cannot be read, or holds no certificate
 */
export async function trustAsEnvironmentSays(env: Environment): Promise<void> {
  const variable = VARIABLES.find((name) => env[name]);
  const file = variable && env[variable];
  if (!variable || !file) return;
  if (trusted?.file !== file) trusted = { file, done: trust(variable, file) };
  await trusted.done;
}

async function trust(variable: string, file: string): Promise<void> {
  const said = `${variable} names ${file}`;
  let text: string;
  try {
    const bytes = await readNamed(file, { maxBytes: MAX_BYTES, writerWaitMs: WRITER_WAIT_MS });
    text = bytes.toString('latin1');
  } catch (cause) {
    throw new NixcacheError('ERR_USAGE', `${said}, which cannot be read: ${ioReason(cause)}`, { cause });
  }
  const certificates = text.match(CERTIFICATE) ?? [];
  if (certificates.length === 0) {
    throw new NixcacheError('ERR_USAGE', `${said}, which holds no certificate: it has to be in PEM form`);
  }
  try {
    setDefaultCACertificates([...certificates, ...getCACertificates('extra')]);
  } catch (cause) {
    throw new NixcacheError('ERR_USAGE', `${said}, in which a certificate is damaged: ${messageOf(cause)}`, { cause });
  }
}
