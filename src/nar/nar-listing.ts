/**
 * NAR listing: what is in a NAR and where, the `.ls` file of a binary cache.
 *
 * `{"version":1,"root":NODE}`; see NixOS/nix src/libutil/nar-listing.cc. Names and targets are text as in file-name.ts:
 * for bytes that are not UTF-8 Nix 2.8 writes JSON that is none, and newer ones fail; we write `\udcXX`, which is JSON.
 */
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { parseBoundedJson } from '../bounded-json.ts';
import { NixcacheError } from '../errors.ts';
import { MAX_LISTING_BYTES, MAX_LISTING_NODES } from '../nix/nar-info.ts';
import { quoted } from '../nix/quoted.ts';

interface NarDirectory {
  readonly type: 'directory';
  /** In order of the names' bytes where made from a NAR; as it stood where parsed. */
  readonly entries: ReadonlyMap<string, NarNode>;
}

interface NarRegular {
  readonly type: 'regular';
  /** Bytes of the contents. */
  readonly size: number;
  readonly executable: boolean;
  /** Where the contents start in the uncompressed NAR, if known. */
  readonly narOffset?: number;
}

interface NarSymlink {
  readonly type: 'symlink';
  readonly target: string;
}

export type NarNode = NarDirectory | NarRegular | NarSymlink;

/** Far above the 64 that Nix restores since 2.35, far below what would exhaust the stack. */
const MAX_DEPTH = 1024;
/** Of a node at most five. */
const MAX_LISTING_VALUES = 5 * MAX_LISTING_NODES;

/** Of a node and its place in a directory, without its name. */
const NODE_WEIGHT = 300;

/** Counts what a listing is made of, so that one that will not be published is given up before it fills the memory. */
export class ListingBudget {
  readonly #maxNodes: number;
  #nodes = 0;
  #bytes = 0;

  constructor(maxNodes = MAX_LISTING_NODES) {
    this.#maxNodes = maxNodes;
  }

  /** Bytes of memory that the nodes so far take up, about. */
  get weight(): number {
    return this.#nodes * NODE_WEIGHT + this.#bytes;
  }

  /** Whether there is room for a node with so much text, its name or target. */
  take(text: string): boolean {
    this.#nodes++;
    this.#bytes += text.length;
    return this.#nodes <= this.#maxNodes && this.#bytes <= MAX_LISTING_BYTES;
  }
}

/**
 * The listing whose root is `root`, zstd-compressed as it is published; undefined for one that is too long to be served, and
 * for none.
 * As Nix before 2.35 does, it has `executable` only where it is true.
 */
export function packNarListing(root: NarNode | undefined, maxBytes = MAX_LISTING_BYTES): Uint8Array | undefined {
  const text = root && formatNarListing(root, maxBytes);
  return text && zstdCompressSync(text);
}

/** The text of a listing that was packed so; whatever zlib throws for what is none, or too long. */
export const unpackNarListing = (packed: Uint8Array): Buffer =>
  zstdDecompressSync(packed, { maxOutputLength: MAX_LISTING_BYTES });

/** The same as JSON text. */
export function formatNarListing(root: NarNode, maxBytes = MAX_LISTING_BYTES): Buffer | undefined {
  const parts: string[] = [];
  let length = 0;
  for (const piece of pieces(root)) {
    parts.push(piece);
    length += piece.length; // no character is less than a byte, and no string can hold all that a NAR may
    if (length > maxBytes) return undefined;
  }
  const text = Buffer.from(parts.join(''));
  return text.length > maxBytes ? undefined : text;
}

function* pieces(root: NarNode): Generator<string> {
  yield '{"version":1,"root":';
  const open: Iterator<[string, NarNode]>[] = [];
  let node: NarNode | undefined = root;
  let first = true;
  while (node !== undefined || open.length > 0) {
    if (node !== undefined) {
      if (node.type === 'directory') {
        yield '{"type":"directory","entries":{';
        open.push(node.entries.entries());
        first = true;
      } else {
        yield encodeLeaf(node);
        first = false;
      }
    }
    const next: IteratorResult<[string, NarNode]> | undefined = open.at(-1)?.next();
    node = undefined;
    if (next === undefined) break;
    if (next.done) {
      yield '}}';
      open.pop();
      first = false;
    } else {
      yield `${first ? '' : ','}${JSON.stringify(next.value[0])}:`;
      node = next.value[1];
    }
  }
  yield '}';
}

function encodeLeaf(node: NarRegular | NarSymlink): string {
  if (node.type === 'symlink') return `{"type":"symlink","target":${JSON.stringify(node.target)}}`;
  const executable = node.executable ? ',"executable":true' : '';
  const offset = node.narOffset === undefined ? '' : `,"narOffset":${node.narOffset}`;
  return `{"type":"regular","size":${node.size}${executable}${offset}}`;
}

/**
 * Parses a listing and returns its root. Lenient as to unknown keys, key order and an absent `executable` or
 * `narOffset`; strict as to names, which end up in URLs and paths.
 *
 * @throws {NixcacheError} ERR_FORMAT
 */
export function parseNarListing(text: string): NarNode {
  let json: unknown;
  try {
    json = parseBoundedJson(text, { maxValues: MAX_LISTING_VALUES, maxDepth: 2 * MAX_DEPTH + 2 });
  } catch (cause) {
    throw new NixcacheError('ERR_FORMAT', 'NAR listing is corrupt: it is not JSON', { cause });
  }
  if (!isObject(json) || json['version'] !== 1) throw corrupt('', 'its version is not 1');
  return parseNode(json['root'], '', 0);
}

function parseNode(json: unknown, path: string, depth: number): NarNode {
  if (!isObject(json)) throw corrupt(path, 'it is no object');
  if (depth > MAX_DEPTH) throw corrupt('', `it is nested deeper than ${MAX_DEPTH} levels`);
  switch (json['type']) {
    case 'directory':
      return { type: 'directory', entries: parseEntries(json['entries'], path, depth) };
    case 'regular': {
      const narOffset = json['narOffset'];
      const size = parseCount(json['size'], path, 'size');
      const executable = json['executable'] === true;
      if (narOffset === undefined) return { type: 'regular', size, executable };
      return { type: 'regular', size, executable, narOffset: parseCount(narOffset, path, 'narOffset') };
    }
    case 'symlink':
      if (typeof json['target'] !== 'string') throw corrupt(path, 'its target is no text');
      return { type: 'symlink', target: json['target'] };
    default:
      throw corrupt(path, 'its type is none of directory, regular and symlink');
  }
}

function parseEntries(json: unknown, path: string, depth: number): ReadonlyMap<string, NarNode> {
  if (!isObject(json)) throw corrupt(path, 'its entries are no object');
  const entries = new Map<string, NarNode>();
  for (const name of Object.keys(json)) {
    if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
      throw corrupt(path, `it has an entry named ${quoted(name)}`);
    }
    entries.set(name, parseNode(json[name], `${path}/${name}`, depth + 1));
  }
  return entries;
}

function parseCount(value: unknown, path: string, key: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw corrupt(path, `its ${key} is no whole number`);
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const corrupt = (path: string, what: string): NixcacheError =>
  new NixcacheError('ERR_FORMAT', `NAR listing is corrupt: ${path === '' ? '' : `at ${quoted(path)} `}${what}`);
