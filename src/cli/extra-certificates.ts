/**
 * NODE_EXTRA_CA_CERTS, which Node reads by itself, in a thread that nothing ends: at a named pipe the process would wait for
 * ever, without a word, as soon as anything uses cryptography.
 */
import { realpathSync, statSync } from 'node:fs';
import type { Environment } from '../environment.ts';
import { NixcacheError } from '../errors.ts';

/** @throws {NixcacheError} ERR_USAGE for a named pipe; a shell's `<(command)`, which has no name, may be one */
export function assertExtraCertificates(env: Environment): void {
  const file = env['NODE_EXTRA_CA_CERTS'];
  if (!file || !isNamedPipe(file)) return;
  throw new NixcacheError(
    'ERR_USAGE',
    `NODE_EXTRA_CA_CERTS names ${file}, which is a named pipe, and no regular file: Node would wait for it without end`,
  );
}

function isNamedPipe(file: string): boolean {
  try {
    return statSync(file).isFIFO() && realpathSync.native(file) !== '';
  } catch {
    return false; // Node warns of it
  }
}
