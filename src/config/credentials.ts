/** User name and password that the user gives for the registry; without them the registry's room looks further. */

import { variable } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import type { Sources } from './resolve.ts';

export interface CredentialFlags {
  readonly username?: string | undefined;
  readonly passwordStdin?: boolean | undefined;
}

export interface BasicCredentials {
  /** Undefined: any will do, as with GitHub's tokens. */
  readonly username: string | undefined;
  readonly password: string;
}

/**
 * `stdin` is the first line of standard input, read only when `--password-stdin` asks for it. A password is never an
 * argument: other users of the machine could read it from the process list.
 *
 * @throws {NixcacheError} ERR_USAGE when there is a user name and no password
 */
export function resolveCredentials(
  { flags, env }: Pick<Sources<CredentialFlags>, 'flags' | 'env'>,
  stdin: string | undefined,
): BasicCredentials | undefined {
  const username = flags.username ?? variable(env, 'NIXCACHE_USERNAME');
  if (flags.passwordStdin === true && (stdin === undefined || stdin === '')) {
    throw new NixcacheError('ERR_USAGE', '--password-stdin: there is nothing on standard input; pipe the password in');
  }
  const password = flags.passwordStdin === true ? stdin : variable(env, 'NIXCACHE_PASSWORD');
  if (username !== undefined && password !== undefined) return { username, password };
  if (username !== undefined) {
    throw new NixcacheError(
      'ERR_USAGE',
      'a user name without a password: pipe it in with --password-stdin, or set NIXCACHE_PASSWORD',
    );
  }
  if (password !== undefined) return { username: undefined, password };
  return undefined;
}
