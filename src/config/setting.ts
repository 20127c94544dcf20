/**
 * A setting is described once: its flag, its variable, its key in the config file, what it holds and what it is when
 * nobody gave it. The command line, `--help`, the check of the config file and the settings of a command follow from that.
 */
import { type Environment, variable } from '../environment.ts';
import { isNixcacheError, NixcacheError } from '../errors.ts';

/** What a flag, a variable or the config file holds. */
export type Raw = string | number | boolean | readonly string[];

/** What relative paths in a value are relative to. */
export interface Place {
  readonly cwd: string;
  readonly env: Environment;
}

export interface SettingType<T, Takes extends 'nothing' | 'value' | 'values' = 'nothing' | 'value' | 'values'> {
  /** What the flag takes: nothing, a value, or one more value each time it is given. */
  readonly takes: Takes;
  /** Whether `value` may stand in the config file, which otherwise is told that it `must be` what `words` say. */
  holds(value: unknown): boolean;
  readonly words: string;
  /** @throws {NixcacheError} ERR_USAGE, ERR_KEY */
  read(raw: Raw, place: Place): T;
  /** The texts in a variable, for types that take several. */
  split?(text: string): readonly string[];
  /** What it is when nobody gave it, and it has no default of its own. */
  readonly absent: T | undefined;
}

export interface Setting<T = unknown> {
  readonly type: SettingType<T>;
  /** As commander has it: `-q, --quiet`, `--port <port>`, `--no-build`. */
  readonly flag?: string;
  readonly env?: string;
  /** `serve.index_ttl`. */
  readonly key?: string;
  /** As the user would write it. */
  readonly default?: string;
  /** For settings that depend on more than one value. */
  readonly resolve?: (sources: Sources) => unknown;
  readonly help?: string;
  /** What the help says beside the variable and the default; instead of the default, where that is not a value. */
  readonly note?: string;
  /** The help of `--no-…`, for a flag that has it. */
  readonly no?: string;
  /** The heading in the help. */
  readonly group?: string;
  /** Names of flags that exclude this one. */
  readonly conflicts?: readonly string[];
  /** Known to the command line, but not in its help. */
  readonly hidden?: boolean;
}

export type SettingTable = Readonly<Record<string, Setting>>;

/** What a setting is in the end. */
export type Value<S extends Setting> = S extends { readonly resolve: (sources: Sources) => infer R }
  ? R
  : S['type'] extends SettingType<infer T, infer Takes>
    ? Takes extends 'value'
      ? S extends { readonly default: string }
        ? T
        : T | undefined
      : T
    : never;

export type Values<Table extends SettingTable> = { readonly [Name in keyof Table]: Value<Table[Name]> };

export type Flags = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

export interface LoadedConfig {
  /** Absolute; undefined when there is no config file. */
  readonly file: string | undefined;
  /** Relative paths in the file are relative to this, the directory it lies in. */
  readonly directory: string | undefined;
  /** Tables within tables, as the file has them; every value is one that its setting may hold. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export const NO_CONFIG: LoadedConfig = { file: undefined, directory: undefined, settings: {} };

/** Everything that settings come from. */
export interface Sources {
  readonly flags: Flags;
  readonly env: Environment;
  readonly config: LoadedConfig;
  readonly cwd: string;
}

/** A value that someone gave, and where: `--port`, `NIXCACHE_PORT`, `serve.port in /etc/nixcache.toml`. */
export interface Given<T = Raw> {
  readonly value: T;
  readonly from: string;
  /** The directory that relative paths in the value are relative to, where it is not the current one. */
  readonly directory?: string | undefined;
}

/** All settings of a table. @throws {NixcacheError} ERR_USAGE, ERR_KEY, led by where the value is from */
export const resolveAll = <Table extends SettingTable>(table: Table, sources: Sources): Values<Table> =>
  Object.fromEntries(
    Object.entries(table).map(([name, setting]) => [name, resolve(setting, sources)]),
  ) as Values<Table>;

/** @throws {NixcacheError} ERR_USAGE, ERR_KEY, led by where the value is from */
export function resolve<S extends Setting>(setting: S, sources: Sources): Value<S> {
  if (setting.resolve) return setting.resolve(sources) as Value<S>;
  const { type, default: fallback } = setting;
  const found =
    given(setting, sources) ?? (fallback === undefined ? undefined : { value: fallback, from: 'the default' });
  if (found === undefined) return type.absent as Value<S>;
  const place = { cwd: found.directory ?? sources.cwd, env: sources.env };
  return read(found, (value) => type.read(value, place)) as Value<S>;
}

/** The flag's value, else the variable's, else the config file's. */
export function given(setting: Setting, sources: Sources): Given | undefined {
  return fromFlag(setting, sources) ?? fromVariable(setting, sources) ?? fromConfig(setting, sources);
}

function fromFlag({ flag, type }: Setting, { flags }: Sources): Given | undefined {
  if (flag === undefined) return undefined;
  const { name, attribute } = flagNames(flag);
  const value = flags[attribute];
  // commander sets what `--no-…` denies to true as long as nobody gave it.
  if (value === undefined || (value === true && name.startsWith('--no-'))) return undefined;
  return type.takes === 'values' && value === false ? undefined : { value, from: name };
}

function fromVariable({ env: name, type }: Setting, { env }: Pick<Sources, 'env'>): Given | undefined {
  const value = name === undefined ? undefined : variable(env, name);
  if (name === undefined || value === undefined) return undefined;
  return { value: type.split?.(value) ?? value, from: name };
}

export function fromConfig({ key }: Setting, { config }: Pick<Sources, 'config'>): Given | undefined {
  const value = key
    ?.split('.')
    .reduce<unknown>(
      (table, part) => (table as Readonly<Record<string, unknown>> | undefined)?.[part],
      config.settings,
    );
  if (value === undefined) return undefined;
  return { value: value as Raw, from: `${key} in ${config.file ?? 'the config file'}`, directory: config.directory };
}

/** `-q, --quiet` → `--quiet` and `quiet`; `--no-build` → `--no-build` and `build`. */
export function flagNames(flag: string): { readonly name: string; readonly attribute: string } {
  const [name = ''] = /--[a-z-]+/.exec(flag) ?? [];
  const attribute = name
    .replace(/^--(?:no-)?/, '')
    .replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return { name, attribute };
}

/** The value of `given` as `parse` reads it; what parse throws is led by the origin. */
export function read<T, R>(given: Given<T>, parse: (value: T) => R): R {
  try {
    return parse(given.value);
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    throw new NixcacheError(error.code, `${given.from}: ${error.message}`, { cause: error });
  }
}
