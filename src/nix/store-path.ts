/**
 * Store paths: `<store dir>/<32 characters of nix base-32>-<name>`.
 *
 * A base name is the part behind the store directory; a hash part is its first 32 characters and is what caches key
 * by. Source: NixOS/nix src/libstore/path.cc (`checkName`); character 33 must be '-', which Nix checks since 2.36.
 */
import { NixcacheError } from '../errors.ts';
import { ALPHABET } from './nixbase32.ts';
import { quoted } from './quoted.ts';

/** An absolute store path, checked. */
export type StorePath = string & { readonly __brand: 'StorePath' };
/** `<hash part>-<name>`, checked. */
export type BaseName = string & { readonly __brand: 'BaseName' };
/** 32 characters of nix base-32 (160 bits). */
export type HashPart = string & { readonly __brand: 'HashPart' };

export const DEFAULT_STORE_DIR = '/nix/store';
export const HASH_PART_LENGTH = 32;
/** 255 (NAME_MAX) less the hash part, the dash and room for Nix's own suffixes: NixOS/nix src/libstore/path.cc. */
const MAX_NAME_LENGTH = 211;

const HASH_PART = new RegExp(`^[${ALPHABET}]{${HASH_PART_LENGTH}}$`);
const NAME = /^[0-9a-zA-Z+\-._?=]+$/;
/** All of a base name at once, but for the names that start with '.': reading a narinfo is mostly this. */
const PLAIN_BASE_NAME = new RegExp(
  `^[${ALPHABET}]{${HASH_PART_LENGTH}}-[0-9a-zA-Z+\\-_?=][0-9a-zA-Z+\\-._?=]{0,${MAX_NAME_LENGTH - 1}}$`,
);

/** Whether `text` can be a store directory: an absolute path of printable ASCII, without a final slash. */
export const isStoreDir = (text: string): boolean => text.length <= 1024 && /^(?:\/[!-.0-~]+)+$/.test(text);

export const isBaseName = (text: string): text is BaseName => baseNameFault(text) === undefined;

export const isHashPart = (text: string): text is HashPart => HASH_PART.test(text);

/** Why `text` is no base name, or undefined if it is one. */
function baseNameFault(text: string): string | undefined {
  if (PLAIN_BASE_NAME.test(text)) return undefined;
  if (!isHashPart(text.slice(0, HASH_PART_LENGTH))) return 'it does not start with 32 characters of nix base-32';
  if (text[HASH_PART_LENGTH] !== '-') return "its hash is not followed by '-'";
  const name = text.slice(HASH_PART_LENGTH + 1);
  if (name.length === 0) return 'its name is empty';
  if (name.length > MAX_NAME_LENGTH) return `its name is longer than ${MAX_NAME_LENGTH} characters`;
  if (!NAME.test(name)) return 'its name has a character outside 0-9 a-z A-Z + - . _ ? =';
  const first = name.split('-', 1)[0];
  if (first === '.' || first === '..') return "its name starts with a '.' or '..' component";
  return undefined;
}

/** @throws {NixcacheError} ERR_FORMAT */
export function parseBaseName(text: string): BaseName {
  const fault = baseNameFault(text);
  if (fault !== undefined) throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is not a store path name: ${fault}`);
  return text as BaseName;
}

/** @throws {NixcacheError} ERR_FORMAT when `text` is not directly below `storeDir` */
export function parseStorePath(text: string, storeDir: string = DEFAULT_STORE_DIR): StorePath {
  if (!text.startsWith(storeDir) || text[storeDir.length] !== '/') {
    throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is not in the Nix store ${storeDir}`);
  }
  const fault = baseNameFault(text.slice(storeDir.length + 1));
  if (fault !== undefined) throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is not a store path: ${fault}`);
  return text as StorePath;
}

export const baseNameOf = (path: StorePath): BaseName => path.slice(path.lastIndexOf('/') + 1) as BaseName;
export const hashPartOf = (path: StorePath | BaseName): HashPart => {
  const start = path.lastIndexOf('/') + 1;
  return path.slice(start, start + HASH_PART_LENGTH) as HashPart;
};
export const nameOf = (path: StorePath | BaseName): string => path.slice(path.lastIndexOf('/') + 2 + HASH_PART_LENGTH);
export const storeDirOf = (path: StorePath): string => path.slice(0, path.lastIndexOf('/'));
export const toStorePath = (baseName: BaseName, storeDir: string = DEFAULT_STORE_DIR): StorePath =>
  `${storeDir}/${baseName}` as StorePath;
