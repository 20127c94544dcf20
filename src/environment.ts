/** What the process was given from outside: variables and the XDG base directories (specification 0.8). */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The variable's value. Empty counts as unset: workflows pass on variables that nobody set. */
export function variable(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === '' ? undefined : value;
}

const homeDirectory = (env: Environment): string => variable(env, 'HOME') ?? homedir();
export const configHome = (env: Environment): string => baseDirectory(env, 'XDG_CONFIG_HOME', '.config');
export const dataHome = (env: Environment): string => baseDirectory(env, 'XDG_DATA_HOME', '.local/share');
export const cacheHome = (env: Environment): string => baseDirectory(env, 'XDG_CACHE_HOME', '.cache');

/** The specification has relative values ignored. */
function baseDirectory(env: Environment, name: string, fallback: string): string {
  const given = variable(env, name);
  return given !== undefined && isAbsolute(given) ? given : join(homeDirectory(env), fallback);
}

/** `path` as an absolute one: `~/` is the home directory, since no shell expands it in `oci:~/cache` or in a file. */
export function absolutePath(path: string, from: { readonly cwd: string; readonly env: Environment }): string {
  if (path === '~' || path.startsWith('~/')) return join(homeDirectory(from.env), path.slice(1));
  return resolve(from.cwd, path);
}
