/**
 * narinfo: what a binary cache says about one store path, as lines `Key: value`.
 *
 * Reading is as lenient as Nix (any order, unknown keys kept aside, any hash form), except for what no Nix can use or
 * what makes a newer one abort: those are errors here, so that they are never handed on. Writing is canonical: Nix's own
 * order, nix base-32, one LF a line. Source: NixOS/nix src/libstore/nar-info.cc and
 * doc/manual/source/protocols/binary-cache/narinfo.md.
 */
import { messageOf, NixcacheError } from '../errors.ts';
import { parseContentAddress } from './content-address.ts';
import { type NixHash, parseHash } from './hash.ts';
import type { PathInfo } from './path-info.ts';
import { quoted } from './quoted.ts';
import { isSignature } from './signature.ts';
import { type BaseName, DEFAULT_STORE_DIR, parseBaseName, parseStorePath } from './store-path.ts';

export interface NarInfo extends PathInfo {
  /** Where the NAR is, relative to the cache: `nar/<file hash>.nar.zst`. Foreign ones may be absolute http(s) URLs or climb with `..`. */
  readonly url: string;
  /** `none`, `xz`, `zstd`, …; Nix reads an absent one as bzip2. */
  readonly compression: string;
  /** Hash of the file at `url`; Nix never checks it, we do. */
  readonly fileHash?: NixHash;
  /** Bytes of the file at `url`. */
  readonly fileSize?: number;
  /** Fields that are not Nix's, in file order. */
  readonly extra?: ReadonlyMap<string, string>;
}

/** 16 MiB: 100 000 references of 160 bytes each; a narinfo beyond it is an attack or an accident. */
export const MAX_NAR_INFO_BYTES = 16 * 1024 * 1024;

/** Nix writes some ten, and one for each signature; each of those costs 50 µs to check. */
const MAX_LINES = 1000;

/** All that some Nix decompresses. A name outside this list makes Nix 2.34 abort. */
const COMPRESSIONS = new Set(
  'none br bzip2 compress grzip gzip lrzip lz4 lzip lzma lzop xz zstd'.split(' '), // libutil/compression-algo.hh
);

type Fields = { -readonly [K in keyof NarInfo]?: NarInfo[K] };

/**
 * Parses one narinfo. References come back sorted and each once, hashes and `ca` in canonical form. A malformed `Sig`
 * is dropped: it can never verify, old versions of Nix pass over it, and Nix since 2.34 refuses the whole narinfo for
 * it, so it must not be handed on; the other signatures keep their worth.
 *
 * @throws {NixcacheError} ERR_FORMAT naming the line and the field, for everything else that Nix refuses
 */
export function parseNarInfo(text: string, storeDir: string = DEFAULT_STORE_DIR): NarInfo {
  const fields: Fields = {};
  const sigs: string[] = [];
  let extra: Map<string, string> | undefined;
  let line = 0;
  for (let at = 0; at < text.length; ) {
    line++;
    const colon = text.indexOf(':', at);
    const end = text.indexOf('\n', at);
    if (end < 0) throw corrupt(line, 'it has no final newline');
    if (colon < 0 || colon > end) throw corrupt(line, 'it has no colon');
    // Nix skips one byte behind the colon, whatever it is; were it the newline, the next line would be the value.
    if (colon + 1 === end) throw corrupt(line, 'nothing follows its colon, not even a space');
    const key = text.slice(at, colon);
    const value = text.slice(colon + 2, end);
    at = end + 1;
    if (line > MAX_LINES) throw corrupt(line, `it has more than ${MAX_LINES} lines`);
    if (key === 'Sig') {
      // Nix reads no further than the padding: a carriage return behind it does not matter.
      const sig = value.trimEnd();
      if (isSignature(sig)) sigs.push(sig);
      continue;
    }
    try {
      if (readField(fields, key, value, storeDir)) continue;
    } catch (cause) {
      throw corrupt(line, `${key}: ${messageOf(cause)}`, cause);
    }
    extra ??= new Map();
    extra.set(key, value);
  }
  const { path, narHash, narSize, url } = fields;
  if (path === undefined) throw corrupt(0, 'StorePath is missing');
  if (narHash === undefined) throw corrupt(0, 'NarHash is missing');
  if (url === undefined) throw corrupt(0, 'URL is missing');
  if (narSize === undefined) throw corrupt(0, 'NarSize is missing');
  return {
    ...fields,
    path,
    narHash,
    narSize,
    url,
    compression: fields.compression ?? 'bzip2',
    references: fields.references ?? [],
    sigs: sigs.length > 1 ? [...new Set(sigs)] : sigs,
    ...(extra === undefined ? {} : { extra }),
  };
}

/** Takes one of Nix's own fields into `fields`; false when `key` is none of them. */
function readField(fields: Fields, key: string, value: string, storeDir: string): boolean {
  switch (key) {
    case 'StorePath':
      fields.path = parseStorePath(value, storeDir);
      return true;
    case 'URL':
      fields.url = parseUrl(value);
      return true;
    case 'Compression':
      if (value !== '' && !COMPRESSIONS.has(value))
        throw new NixcacheError('ERR_FORMAT', `${quoted(value)} is unknown`);
      fields.compression = value === '' ? 'bzip2' : value;
      return true;
    case 'FileHash':
      fields.fileHash = parseSha256(value);
      return true;
    case 'FileSize':
      fields.fileSize = parseSize(value, 0);
      return true;
    case 'NarHash':
      fields.narHash = parseSha256(value);
      return true;
    case 'NarSize':
      fields.narSize = parseSize(value, 1);
      return true;
    case 'References':
      if (fields.references !== undefined && fields.references.length > 0) throw twice();
      fields.references = parseReferences(value);
      return true;
    case 'Deriver':
      if (value === 'unknown-deriver') delete fields.deriver;
      else fields.deriver = parseBaseName(value);
      return true;
    case 'CA':
      if (fields.ca !== undefined) throw twice();
      if (value !== '') fields.ca = parseContentAddress(value);
      return true;
    default:
      return false;
  }
}

const PRINTABLE = /^[!-~]+$/;
/** A colon before any '/' makes what stands before it a scheme. */
const SCHEME = /^[^/?#:]*:/;

/**
 * A relative URL or an http one. Nix itself fails on blanks, aborts on `sha256:…` (since 2.34), and would read
 * `file:///…` from its own disk, which no stranger's cache may ask of it.
 */
function parseUrl(text: string): string {
  if (!PRINTABLE.test(text)) throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is empty or not plain ASCII`);
  if (SCHEME.test(text) && !/^https?:\/\//.test(text)) {
    throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is neither relative to the cache nor an http URL`);
  }
  return text;
}

/** Nix itself writes and checks nothing but sha256 here, and asserts on it. */
function parseSha256(text: string): NixHash {
  const hash = parseHash(text);
  if (!hash.startsWith('sha256:')) throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is not a sha256 hash`);
  return hash;
}

function parseReferences(text: string): readonly BaseName[] {
  if (text === '') return [];
  const references: BaseName[] = [];
  let ascending = true;
  for (const word of text.split(' ')) {
    if (word === '') continue;
    const reference = parseBaseName(word);
    const last = references.at(-1);
    if (last !== undefined && last >= reference) ascending = false;
    references.push(reference);
  }
  return ascending ? references : sortReferences(references);
}

function parseSize(text: string, least: number): number {
  const size = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(size >= least && size <= Number.MAX_SAFE_INTEGER)) {
    throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is not a whole number of at least ${least}`);
  }
  return size;
}

const twice = (): NixcacheError => new NixcacheError('ERR_FORMAT', 'it stands twice');

const corrupt = (line: number, what: string, cause?: unknown): NixcacheError =>
  new NixcacheError('ERR_FORMAT', `narinfo is corrupt: ${line > 0 ? `line ${line}: ` : ''}${what}`, { cause });

/** Writes `info` in Nix's order; fields in `extra` come last and only if `withExtra` is set. */
export function formatNarInfo(info: NarInfo, options: { readonly withExtra?: boolean } = {}): string {
  const lines = [`StorePath: ${info.path}`, `URL: ${info.url}`, `Compression: ${info.compression}`];
  if (info.fileHash !== undefined) lines.push(`FileHash: ${info.fileHash}`);
  if (info.fileSize !== undefined) lines.push(`FileSize: ${info.fileSize}`);
  lines.push(`NarHash: ${info.narHash}`, `NarSize: ${info.narSize}`);
  lines.push(`References: ${info.references.join(' ')}`);
  if (info.deriver !== undefined) lines.push(`Deriver: ${info.deriver}`);
  for (const sig of info.sigs) lines.push(`Sig: ${sig}`);
  if (info.ca !== undefined) lines.push(`CA: ${info.ca}`);
  if (options.withExtra && info.extra) for (const [key, value] of info.extra) lines.push(`${key}: ${value}`);
  return `${lines.join('\n')}\n`;
}

/** References as base names, sorted by bytes as Nix keeps them. */
export const sortReferences = (references: Iterable<BaseName>): BaseName[] => [...new Set(references)].sort();

/** What everyone has to agree upon about `.ls` listings; nar/nar-listing.ts makes and parses them. */

/** 64 MiB of JSON, some 500 000 files: what a server is willing to hold for one answer. */
export const MAX_LISTING_BYTES = 64 * 1024 * 1024;
/** 1 000 000 files, directories and links: some 300 MiB while it is made. */
export const MAX_LISTING_NODES = 1_000_000;
