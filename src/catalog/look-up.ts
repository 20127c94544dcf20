/** What the user means by a store path, a part of one, or the name of a root or pin. */

import type { IndexReader } from '../cache/read/index-reader.ts';
import {
  type BaseName,
  baseNameOf,
  HASH_PART_LENGTH,
  type HashPart,
  hashPartOf,
  isHashPart,
  nameOf,
} from '../nix/store-path.ts';
import type { Catalog } from './catalog.ts';

export type LookUp =
  | { readonly kind: 'path'; readonly hashPart: HashPart }
  /** Of roots, of pins, or of both. */
  | { readonly kind: 'name'; readonly name: string }
  /** Several paths begin like that; sorted by name. */
  | { readonly kind: 'ambiguous'; readonly candidates: readonly BaseName[] }
  | { readonly kind: 'absent' };

/** A hash part is told from a name by so many characters at least. */
const MIN_HASH_PREFIX = 4;

/** A store path in full or what lies in it, a base name, a hash part, the name of a root or pin, or the beginning of a name or hash. */
export function lookUp(text: string, catalog: Catalog): LookUp {
  const { reader, roots, pins } = catalog;
  const exact = lookUpPath(text, reader);
  if (exact) return { kind: 'path', hashPart: exact };
  if (text.startsWith('/')) return { kind: 'absent' };
  if ([...roots, ...pins].some(({ name }) => name === text)) return { kind: 'name', name: text };
  return lookUpPrefix(text, reader);
}

/** The hash part in a store path, what lies in one, a base name or a hash part, if the cache has it under that name. */
function lookUpPath(text: string, reader: IndexReader): HashPart | undefined {
  const { storeDir } = reader;
  const [base = ''] = (text.startsWith(`${storeDir}/`) ? text.slice(storeDir.length + 1) : text).split('/');
  const hashPart = base.slice(0, HASH_PART_LENGTH);
  if (!isHashPart(hashPart)) return undefined;
  const entry = reader.findEntry(hashPart);
  if (!entry) return undefined;
  return base === hashPart || base === baseNameOf(entry.narInfo.path) ? hashPart : undefined;
}

/** Paths whose name is `text`, or else begins with it, or whose hash does. */
function lookUpPrefix(text: string, reader: IndexReader): LookUp {
  const exact: BaseName[] = [];
  const begins: BaseName[] = [];
  if (text === '') return { kind: 'absent' };
  for (const { entry } of reader.entries()) {
    const base = baseNameOf(entry.narInfo.path);
    if (nameOf(base) === text) exact.push(base);
    else if (nameOf(base).startsWith(text)) begins.push(base);
    else if (text.length >= MIN_HASH_PREFIX && base.startsWith(text)) begins.push(base);
  }
  const candidates = exact.length > 0 ? exact : begins;
  const [only] = candidates;
  if (only === undefined) return { kind: 'absent' };
  if (candidates.length === 1) return { kind: 'path', hashPart: hashPartOf(only) };
  return { kind: 'ambiguous', candidates: candidates.toSorted(byName) };
}

/** By name, then hash. */
export const byName = (a: BaseName, b: BaseName): number => {
  const x = nameOf(a);
  const y = nameOf(b);
  if (x !== y) return x < y ? -1 : 1;
  return a < b ? -1 : 1;
};

/** Every name that `lookUp` knows, for suggestions: of roots and pins first. */
export function knownNames({ reader, roots, pins }: Catalog): string[] {
  const names = new Set([...roots, ...pins].map(({ name }) => name));
  for (const { entry } of reader.entries()) names.add(nameOf(entry.narInfo.path));
  return [...names];
}
