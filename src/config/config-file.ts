/** The config file: what may stand in it follows from the settings that have a key. Durations and sizes are text. */
import { CACHE } from './cache-reference.ts';
import { GC } from './gc-settings.ts';
import { COMPRESSION, DISCOVER, FLAKE, PUSH } from './publish-settings.ts';
import { SERVE } from './serve-settings.ts';
import type { SettingTable, SettingType } from './setting.ts';
import { SIGNING_KEY_FILE } from './signing-keys.ts';
import { suggest } from './suggestion.ts';
import { UPSTREAM_TABLE } from './upstreams.ts';

/** What may stand in a table: values, and tables in turn. */
type Shape = Map<string, SettingType<unknown> | Shape>;

const FILE = shapeOf(CACHE, { SIGNING_KEY_FILE, FLAKE, COMPRESSION }, DISCOVER, PUSH, SERVE, GC);
const UPSTREAM = shapeOf(UPSTREAM_TABLE);
FILE.set('upstream', UPSTREAM);

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
export const faultsOf = (document: unknown): readonly string[] => faultsIn(document, FILE, '');

function faultsIn(value: unknown, shape: Shape, path: string): readonly string[] {
  if (!isTable(value)) return [`${path} must be a table`];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = path === '' ? key : `${path}.${key}`;
    const type = shape.get(key);
    if (type === undefined) return [unknownKey(at, key, [...shape.keys()])];
    if (type === UPSTREAM) return faultsInUpstreams(inner, at);
    if (type instanceof Map) return faultsIn(inner, type, at);
    return type.holds(inner) ? [] : [mustBe(at, type, inner)];
  });
}

function faultsInUpstreams(value: unknown, path: string): readonly string[] {
  if (!Array.isArray(value)) return [`${path} must be tables, each headed [[upstream]]`];
  return value.flatMap((table, index) => {
    const at = `${path}[${index}]`;
    const { type } = UPSTREAM_TABLE.url;
    const lacking = isTable(table) && table['url'] === undefined ? [mustBe(`${at}.url`, type, undefined)] : [];
    return [...lacking, ...faultsIn(table, UPSTREAM, at)];
  });
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const mustBe = (path: string, { words }: SettingType<unknown>, value: unknown): string =>
  `${path} must be ${words}, not ${JSON.stringify(value) ?? 'nothing'}`;

function unknownKey(path: string, key: string, allowed: readonly string[]): string {
  const meant = suggest(key, allowed);
  const help = meant === undefined ? `there are ${allowed.join(', ')}` : `did you mean '${meant}'?`;
  return `${path} is not a setting, ${help}`;
}
