/**
 * Where a setting comes from: flag, then environment, then config file, then default. Each value travels with its
 * origin, so that whoever refuses it can say what the user must change.
 */

import { type Environment, variable } from '../environment.ts';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import type { ConfigFile } from './config-file.ts';

/** A value that someone gave, and where: `--port`, `NIXCACHE_PORT`, `serve.port in /etc/nixcache.toml`. */
export interface Given<T> {
  readonly value: T;
  readonly from: string;
  /** The directory that relative paths in the value are relative to, where it is not the current one. */
  readonly directory?: string | undefined;
}

export interface LoadedConfig {
  /** Absolute; undefined when there is no config file. */
  readonly file: string | undefined;
  /** Relative paths in the file are relative to this, the directory it lies in. */
  readonly directory: string | undefined;
  readonly settings: ConfigFile;
}

export const NO_CONFIG: LoadedConfig = { file: undefined, directory: undefined, settings: {} };

/** Everything a resolver may look at. */
export interface Sources<Flags = unknown> {
  readonly flags: Flags;
  readonly env: Environment;
  readonly config: LoadedConfig;
  readonly cwd: string;
}

export const fromFlag = <T>(name: string, value: T | undefined): Given<T> | undefined =>
  value === undefined ? undefined : { value, from: name };

export function fromEnv(env: Environment, name: string): Given<string> | undefined {
  const value = variable(env, name);
  return value === undefined ? undefined : { value, from: name };
}

/** `key` is how the file spells it: `serve.index_ttl`. */
export function fromConfig<T>(config: LoadedConfig, key: string, value: T | undefined): Given<T> | undefined {
  if (value === undefined) return undefined;
  return { value, from: `${key} in ${config.file ?? 'the config file'}`, directory: config.directory };
}

/** The first that was given. */
export const pick = <T>(...candidates: readonly (Given<T> | undefined)[]): Given<T> | undefined =>
  candidates.find((candidate) => candidate !== undefined);

/** The value of `given` as `parse` reads it; what parse throws is led by the origin. */
export function read<T, R>(given: Given<T>, parse: (value: T) => R): R {
  try {
    return parse(given.value);
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    throw new NixcacheError(error.code, `${given.from}: ${error.message}`, { cause: error });
  }
}

/** A whole number from `least` to `most`, as text or as a number. @throws {NixcacheError} ERR_USAGE */
export function parseInteger(value: string | number, least: number, most: number, what: string): number {
  const number = typeof value === 'number' ? value : /^\d{1,15}$/.test(value.trim()) ? Number(value) : Number.NaN;
  if (Number.isInteger(number) && number >= least && number <= most) return number;
  throw new NixcacheError('ERR_USAGE', `'${value}' is not ${what}: give a whole number from ${least} to ${most}`);
}
