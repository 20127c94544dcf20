/** NARs made in memory from their definition, valid or not; independent of the writer under test. */
import { zstdDecompressSync } from 'node:zlib';
import { type NarNode, packNarListing } from '../../src/nar/nar-listing.ts';
import type { FileTree } from './file-tree.ts';

/** One token for each part: its length, its bytes, its padding. */
export function tokens(...parts: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = typeof part === 'string' ? fileNameToBytes(part) : part;
      return [u64(bytes.length), bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)];
    }),
  );
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** The NAR of `tree`, whose names may be in any order. */
export const narOf = (tree: FileTree): Buffer => Buffer.concat([tokens('nix-archive-1'), nodeOf(tree)]);

function nodeOf(tree: FileTree): Buffer {
  if ('contents' in tree) {
    const executable = ((tree.mode ?? 0o644) & 0o100) !== 0 ? ['executable', ''] : [];
    return tokens('(', 'type', 'regular', ...executable, 'contents', Buffer.from(tree.contents), ')');
  }
  if ('target' in tree) return tokens('(', 'type', 'symlink', 'target', tree.target, ')');
  const entries = tree.entries.map(([name, child]) => [fileNameToBytes(name), child] as const);
  return Buffer.concat([
    tokens('(', 'type', 'directory'),
    ...entries
      .toSorted(([a], [b]) => Buffer.compare(a, b))
      .flatMap(([name, child]) => [tokens('entry', '(', 'name', name, 'node'), nodeOf(child), tokens(')')]),
    tokens(')'),
  ]);
}

/** The bytes that `text` stands for; other lone surrogates, which no file name makes, become U+FFFD. */
export function fileNameToBytes(text: string): Buffer {
  if (!ESCAPED.test(text)) return Buffer.from(text);
  const parts: Buffer[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    parts.push(code >= 0xdc80 && code <= 0xdcff ? Buffer.of(code - 0xdc00) : Buffer.from(character));
  }
  return Buffer.concat(parts);
}

const ESCAPED = /[\udc80-\udcff]/;

/** The text of a listing. */
export const listingText = (root: NarNode): string => zstdDecompressSync(packNarListing(root) ?? '').toString();
