/** What the process was given from outside: variables and the XDG base directories (specification 0.8). */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { isNixcacheError, NixcacheError } from './errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The variable's value. Empty counts as unset: workflows pass on variables that nobody set. */
export function variable(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === '' ? undefined : value;
}

/** Undefined for a user without an entry in passwd and without HOME, as containers run with any number for one. */
export function findHome(env: Environment): string | undefined {
  const given = variable(env, 'HOME');
  if (given !== undefined) return given;
  try {
    return homedir();
  } catch {
    return undefined;
  }
}

/** @throws {NixcacheError} ERR_USAGE when there is none */
function homeDirectory(env: Environment): string {
  const home = findHome(env);
  if (home !== undefined) return home;
  const message = `user ${process.getuid?.() ?? ''} has no home directory: set HOME, or name what is needed: a cache, directories by XDG_CONFIG_HOME, XDG_CACHE_HOME and XDG_DATA_HOME`;
  throw new NixcacheError('ERR_USAGE', message);
}

/** A directory that one can do without: undefined where it would be in a home that is not there. */
export function orWithoutHome<T>(env: Environment, find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (isNixcacheError(error, 'ERR_USAGE') && findHome(env) === undefined) return undefined;
    throw error;
  }
}

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
