/** User name and password that the user gives for the registry; without them the registry's room looks further. */

import { variable } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { resolveAll, type SettingTable, type Sources } from './setting.ts';
import { SWITCH, TEXT } from './setting-types.ts';

const group = 'Cache options:';

export const CREDENTIALS = {
  username: {
    ...{ type: TEXT, flag: '--username <name>', env: 'NIXCACHE_USERNAME', group },
    help: 'user name for the registry',
  },
  passwordStdin: {
    ...{ type: SWITCH, flag: '--password-stdin', note: 'or NIXCACHE_PASSWORD', group },
    help: 'read the registry password or token from stdin',
  },
} as const satisfies SettingTable;

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
export function resolveCredentials(sources: Sources, stdin: string | undefined): BasicCredentials | undefined {
  const { username, passwordStdin } = resolveAll(CREDENTIALS, sources);
  if (passwordStdin && (stdin === undefined || stdin === '')) {
    throw new NixcacheError('ERR_USAGE', '--password-stdin: there is nothing on standard input; pipe the password in');
  }
  const password = passwordStdin ? stdin : variable(sources.env, 'NIXCACHE_PASSWORD');
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
