/** Finds and reads the config file: `--config FILE`, else ./nixcache.toml, else the user's own. */

import { realpath } from 'node:fs/promises';
import { devNull } from 'node:os';
import { dirname, join } from 'node:path';
import type { CallOptions } from '../call-options.ts';
import { absolutePath, configHome, type Environment, orWithoutHome } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { ioReason } from '../io-error.ts';
import { readNamed, readRegular } from '../regular-file.ts';
import { CACHE } from './cache-reference.ts';
import { GC } from './gc-settings.ts';
import { COMPRESSION, DISCOVER, FLAKE, MATRIX, NIX_FILE, PUSH } from './publish-settings.ts';
import { CACHE_TABLE } from './serve-caches.ts';
import { SERVE } from './serve-settings.ts';
import { type LoadedConfig, NO_CONFIG, type SettingTable, type SettingType } from './setting.ts';
import { SIGNING_KEY_FILE } from './signing-keys.ts';
import { suggest } from './suggestion.ts';
import { UPSTREAM_TABLE } from './upstreams.ts';

export interface ConfigLocation extends CallOptions {
  /** `--config`: must exist. */
  readonly file: string | undefined;
  readonly cwd: string;
  readonly env: Environment;
}

/** 1 MiB: config files hold a few hundred bytes; what is longer is another file. */
const MAX_BYTES = 1024 * 1024;

/** @throws {NixcacheError} ERR_USAGE, naming the file, the key and what is allowed */
export async function loadConfig(location: ConfigLocation): Promise<LoadedConfig> {
  if (location.file !== undefined) {
    const file = absolutePath(location.file, location);
    const text = await readIfThere(file, (options) => readNamed(file, { ...options, signal: location.signal }));
    location.signal?.throwIfAborted();
    if (text === undefined)
      throw new NixcacheError('ERR_USAGE', `read configuration ${file}: there is no such file; is the path right?`);
    return parseConfig(text, file);
  }
  const own = orWithoutHome(location.env, () => join(configHome(location.env), 'nixcache', 'config.toml'));
  for (const file of [join(location.cwd, 'nixcache.toml'), ...(own === undefined ? [] : [own])]) {
    const text = await readIfThere(file, (options) => readRegular(file, { ...options, links: 'followed' }));
    if (text !== undefined) return parseConfig(text, file);
  }
  return NO_CONFIG;
}

/** What people name for no configuration at all. */
const isNullDevice = async (file: string): Promise<boolean> => (await realpath(file).catch(() => file)) === devNull; // pipes have no path

async function readIfThere(
  file: string,
  read: (options: { readonly maxBytes: number }) => Promise<Buffer>,
): Promise<string | undefined> {
  try {
    if (await isNullDevice(file)) return '';
    return (await read({ maxBytes: MAX_BYTES })).toString('utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new NixcacheError(
      'ERR_USAGE',
      `read configuration ${file}: ${ioReason(error)}; make it readable, or name another with --config`,
      { cause: error },
    );
  }
}

/** The parser is loaded only when there is a file to read: without one every command starts sooner. */
export async function parseConfig(text: string, file: string): Promise<LoadedConfig> {
  const { parse, TomlError } = await import('smol-toml');
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split('\n', 1)[0]?.replace(/^Invalid TOML document: /, '');
    throw new NixcacheError('ERR_USAGE', `read configuration ${file}, line ${error.line}: not TOML: ${reason}`, {
      cause: error,
    });
  }
  const faults = faultsOf(document);
  if (faults.length > 0) throw new NixcacheError('ERR_USAGE', `read configuration ${file}: ${faults.join('; ')}`);
  return { file, directory: dirname(file), settings: document as LoadedConfig['settings'] };
}

/** What may stand in a table: values, and tables in turn. */
type Shape = Map<string, SettingType<unknown> | Shape>;

const TABLES: readonly SettingTable[] = [
  ...[CACHE, { SIGNING_KEY_FILE, FLAKE, COMPRESSION }, NIX_FILE, DISCOVER, MATRIX, PUSH, SERVE, GC],
];
const FILE = shapeOf(...TABLES);
const UPSTREAM = shapeOf(UPSTREAM_TABLE);
FILE.set('upstream', UPSTREAM);
const SERVED = shapeOf(CACHE_TABLE);
(FILE.get('serve') as Shape).set('cache', SERVED);
/** Tables that there may be several of, and what each has to say. */
const LISTS = new Map<Shape, SettingTable>([
  [UPSTREAM, { url: UPSTREAM_TABLE.url }],
  [SERVED, {}],
]);

/** The keys that may be set: those of what this version has not are known, refused where they are used, and never proposed. */
const OFFERED: ReadonlySet<string> = new Set(
  TABLES.flatMap((table) => Object.values(table)).flatMap(({ key, hidden }) => (key && !hidden ? key : [])),
);
const isOffered = (path: string): boolean =>
  OFFERED.has(path) ||
  [...OFFERED].some((key) => key.startsWith(`${path}.`)) ||
  /^(?:upstream|serve\.cache[.[])/.test(path);

/** Every key that may be set in the config file, as `serve.port` or `upstream.url`. */
export const configKeys = (): readonly string[] => [
  ...OFFERED,
  ...[...UPSTREAM.keys()].map((name) => `upstream.${name}`),
  ...[...SERVED.keys()].map((name) => `serve.cache.${name}`),
];

function shapeOf(...tables: readonly SettingTable[]): Shape {
  const shape: Shape = new Map();
  for (const { key, type } of tables.flatMap((table) => Object.values(table))) {
    const path = key?.split('.') ?? [];
    const name = path.pop();
    let at = shape;
    for (const part of path) {
      const inner = at.get(part) ?? new Map();
      at.set(part, inner);
      if (inner instanceof Map) at = inner;
    }
    if (name !== undefined) at.set(name, type);
  }
  return shape;
}

/** What is wrong with `document`, one reason each; none: it may be used. */
const faultsOf = (document: unknown): readonly string[] => faultsIn(document, FILE, '');

function faultsIn(value: unknown, shape: Shape, path: string): readonly string[] {
  if (!isTable(value)) return [`${path} must be a table`];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = path === '' ? key : `${path}.${key}`;
    const type = shape.get(key);
    if (type === undefined) return [unknownKey(at, key, offeredIn(shape, path))];
    if (type instanceof Map) return LISTS.has(type) ? faultsInList(inner, type, at) : faultsIn(inner, type, at);
    return type.holds(inner) ? [] : [mustBe(at, type, inner)];
  });
}

const offeredIn = (shape: Shape, path: string): readonly string[] =>
  [...shape.keys()].filter((key) => isOffered(path === '' ? key : `${path}.${key}`));

function faultsInList(value: unknown, shape: Shape, path: string): readonly string[] {
  if (!Array.isArray(value)) return [`${path} must be tables, each headed [[${path}]]`];
  return value.flatMap((table, index) => {
    const at = `${path}[${index}]`;
    const lacking = Object.values(LISTS.get(shape) ?? {}).flatMap(({ key = '', type }) =>
      isTable(table) && table[key] === undefined ? [mustBe(`${at}.${key}`, type, undefined)] : [],
    );
    return [...lacking, ...faultsIn(table, shape, at)];
  });
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function mustBe(path: string, { words }: SettingType<unknown>, value: unknown): string {
  const texts = [value].flat();
  if (texts.length > 0 && texts.every((text) => typeof text === 'string') && texts.some((text) => text.trim() === ''))
    return `${path} ${Array.isArray(value) ? 'holds an empty text' : 'is empty'}: give a value, or take it out`;
  return `${path} must be ${words}, not ${JSON.stringify(value) ?? 'nothing'}`;
}

function unknownKey(path: string, key: string, allowed: readonly string[]): string {
  const elsewhere = placesOf(key);
  const meant = elsewhere.length > 0 ? undefined : (suggest(key, allowed) ?? endingLike(key, allowed));
  if (meant !== undefined) return `${path} is not a setting, did you mean '${meant}'?`;
  const names = [...new Set(PLACES.map(([name]) => name))];
  const other = elsewhere.length > 0 ? key : (suggest(key, names) ?? endingLike(key, names));
  const places = other === undefined ? [] : placesOf(other);
  const help =
    places.length > 0 ? `did you mean '${other}' ${places.join(' or ')}?` : `there are ${allowed.join(', ')}`;
  return `${path} is not a setting, ${help}`;
}

/** `key_file` → `signing_key_file` */
const endingLike = (key: string, names: readonly string[]): string | undefined =>
  names.find((name) => name.endsWith(`_${key.replaceAll('-', '_')}`));

/** Each setting's name, and where it stands in the file. */
const PLACES = [...FILE].flatMap(([name, type]): (readonly [string, string])[] => {
  if (!(type instanceof Map)) return [[name, 'at the top of the file, before any [table]']];
  const table = type === UPSTREAM ? `[[${name}]]` : `[${name}]`;
  return offeredIn(type, name).map((inner) => [inner, `in ${table}`]);
});

const placesOf = (name: string): readonly string[] => PLACES.flatMap(([each, place]) => (each === name ? [place] : []));
