/**
 * narinfo: what a binary cache says about one store path, as lines `Key: value`.
 *
 * Reading is as lenient as Nix (any order, unknown keys kept aside, any hash form); writing is canonical: Nix's own
 * order, nix base-32, one LF a line. Source: NixOS/nix src/libstore/nar-info.cc and
 * doc/manual/source/protocols/binary-cache/narinfo.md.
 */
import { NixcacheError } from '../errors.ts';
import { type NixHash, parseHash } from './hash.ts';
import type { PathInfo } from './path-info.ts';
import { type BaseName, DEFAULT_STORE_DIR, parseBaseName, parseStorePath } from './store-path.ts';

export interface NarInfo extends PathInfo {
  /** Where the NAR is, relative to the cache: `nar/<file hash>.nar.zst`. */
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

type Fields = { -readonly [K in keyof NarInfo]?: NarInfo[K] };

/**
 * Parses one narinfo.
 *
 * @throws {NixcacheError} ERR_FORMAT naming the line and the field, for everything that Nix refuses
 */
export function parseNarInfo(text: string, storeDir: string = DEFAULT_STORE_DIR): NarInfo {
  const fields: Fields = {};
  const sigs: string[] = [];
  const extra = new Map<string, string>();
  let line = 0;
  for (let at = 0; at < text.length; ) {
    line++;
    const colon = text.indexOf(':', at);
    const end = text.indexOf('\n', at);
    if (end < 0) throw corrupt(line, 'it has no final newline');
    if (colon < 0 || colon > end) throw corrupt(line, 'it has no colon');
    const key = text.slice(at, colon);
    const value = text.slice(colon + 2, end); // whatever stands behind the colon is skipped, as Nix does
    try {
      readField(fields, sigs, extra, key, value, storeDir);
    } catch (cause) {
      throw corrupt(line, `${key}: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    }
    at = end + 1;
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
    sigs,
    ...(extra.size > 0 ? { extra } : {}),
  };
}

function readField(
  fields: Fields,
  sigs: string[],
  extra: Map<string, string>,
  key: string,
  value: string,
  storeDir: string,
): void {
  switch (key) {
    case 'StorePath':
      fields.path = parseStorePath(value, storeDir);
      break;
    case 'URL':
      if (value === '') throw new NixcacheError('ERR_FORMAT', 'it is empty');
      fields.url = value;
      break;
    case 'Compression':
      if (value !== '') fields.compression = value;
      break;
    case 'FileHash':
      fields.fileHash = parseHash(value);
      break;
    case 'FileSize':
      fields.fileSize = parseSize(value, 0);
      break;
    case 'NarHash':
      fields.narHash = parseHash(value);
      break;
    case 'NarSize':
      fields.narSize = parseSize(value, 1);
      break;
    case 'References':
      if (fields.references !== undefined && fields.references.length > 0) {
        throw new NixcacheError('ERR_FORMAT', 'it stands twice');
      }
      fields.references = value
        .split(' ')
        .filter((word) => word !== '')
        .map(parseBaseName);
      break;
    case 'Deriver':
      if (value !== 'unknown-deriver' && value !== '') fields.deriver = parseBaseName(value);
      break;
    case 'Sig':
      sigs.push(value);
      break;
    case 'CA':
      if (fields.ca !== undefined) throw new NixcacheError('ERR_FORMAT', 'it stands twice');
      if (value !== '') fields.ca = value;
      break;
    default:
      extra.set(key, value);
  }
}

function parseSize(text: string, least: number): number {
  const size = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(size >= least && size <= Number.MAX_SAFE_INTEGER)) {
    throw new NixcacheError('ERR_FORMAT', `'${text}' is not a whole number of at least ${least}`);
  }
  return size;
}

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
