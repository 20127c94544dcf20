/** Which file of which store path a request names, and how such a file is named in a URL. */
import { fileNameFromLatin1, fileNameToLatin1 } from '../../nar/file-name.ts';
import { type BaseName, HASH_PART_LENGTH, type HashPart, isBaseName, isHashPart } from '../../nix/store-path.ts';

/** A file in a store path, or at least what would be one. */
export interface StoreTarget {
  readonly hashPart: HashPart;
  /** Undefined where the hash part stands alone. */
  readonly baseName: BaseName | undefined;
  /** Names below the store path, as in nar/file-name.ts. */
  readonly names: readonly string[];
  /** Whether a slash ends it: what is relative on its page is then relative to itself. */
  readonly hasSlash: boolean;
}

/** As long as Linux lets paths be, and each byte may be written as three. */
const MAX_LENGTH = 3 * 4096;

/**
 * What `path`, whose names may be any that a NAR can hold, names below `storeDir`; undefined for what no store path can have.
 */
export function parseStoreTarget(path: string, storeDir: string): StoreTarget | undefined {
  if (!path.startsWith(`${storeDir}/`) || path.length > storeDir.length + MAX_LENGTH) return undefined;
  const [first = '', ...rest] = path.slice(storeDir.length + 1).split('/');
  const hasSlash = rest.at(-1) === '';
  const names = hasSlash ? rest.slice(0, -1) : rest;
  if (names.includes('')) return undefined;
  const baseName = isBaseName(first) ? first : undefined;
  const hashPart = first.slice(0, HASH_PART_LENGTH);
  if (!isHashPart(hashPart) || (baseName === undefined && first !== hashPart)) return undefined;
  return { hashPart, baseName, names, hasSlash };
}

/**
 * The path of a request target in which names need not be text: decoded, with bytes that are no UTF-8 as in nar/file-name.ts.
 * Undefined for one that no NAR has: with a NUL, or with a name that leads elsewhere.
 */
export function filePathOf(target: string): string | undefined {
  const raw = /^[^?#]*/.exec(target)?.[0] ?? '';
  if (raw[0] !== '/' || raw.includes('\\') || /%(?![0-9a-f]{2})/i.test(raw)) return undefined;
  const names = raw.split('/').map(decodeName);
  const isName = (name: string): boolean => name !== '.' && name !== '..' && !/[/\0]/.test(name);
  return names.every(isName) ? names.join('/') : undefined;
}

function decodeName(raw: string): string {
  const bytes = Buffer.from(raw, 'utf8').toString('latin1');
  return fileNameFromLatin1(
    bytes.replaceAll(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16))),
  );
}

/** `name` as it stands in a URL, byte for byte. */
export const encodeName = (name: string): string =>
  fileNameToLatin1(name).replaceAll(
    /[^0-9A-Za-z._~+=,@-]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );

/** `names`, each behind a slash, as they stand in a URL. */
export const encodeNames = (names: readonly string[]): string => names.map((name) => `/${encodeName(name)}`).join('');
