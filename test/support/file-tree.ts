import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileNameToBytes } from './nar.ts';

/** A file system tree as a value. Names and targets as in src/nar/file-name.ts. */
export type FileTree =
  | { readonly contents: string | Uint8Array; readonly mode?: number }
  | { readonly target: string }
  | { readonly entries: readonly (readonly [name: string, tree: FileTree])[] };

/** Makes `tree` at `path`, which must not exist. */
export function plantTree(path: string | Buffer, tree: FileTree): void {
  const place = Buffer.from(path);
  if ('contents' in tree) {
    writeFileSync(place, tree.contents);
    chmodSync(place, tree.mode ?? 0o644);
  } else if ('target' in tree) {
    symlinkSync(fileNameToBytes(tree.target), place);
  } else {
    mkdirSync(place);
    for (const [name, child] of tree.entries) {
      plantTree(Buffer.concat([place, Buffer.from('/'), fileNameToBytes(name)]), child);
    }
  }
}

/** `depth` directories, each in the one before. */
export function nested(depth: number, leaf: FileTree): FileTree {
  let tree = leaf;
  for (let i = 0; i < depth; i++) tree = { entries: [['d', tree]] };
  return tree;
}

/** The trees whose NARs, made by Nix, are in test/golden/nar. */
export const GOLDEN_TREES: Readonly<Record<string, FileTree>> = {
  dep: { entries: [['f', { contents: 'dep\n' }]] },
  'regular-0': { contents: '' },
  'regular-1': { contents: 'x' },
  'regular-7': { contents: '1234567' },
  'regular-8': { contents: '12345678' },
  'regular-9': { contents: '123456789' },
  'executable-by-owner': { contents: '#!/bin/sh\n', mode: 0o700 },
  'executable-by-others-only': { contents: '#!/bin/sh\n', mode: 0o655 },
  'symlink-dangling': { target: '../nowhere/at all' },
  'directory-empty': { entries: [] },
  tree: {
    entries: [
      ['README', { contents: 'read me\n', mode: 0o444 }],
      [
        'bin',
        {
          entries: [
            ['hello', { contents: '#!/bin/sh\necho hello\n', mode: 0o555 }],
            ['hi', { target: 'hello' }],
          ],
        },
      ],
      ['empty', { contents: '' }],
      ['share', { entries: [['doc', { entries: [] }]] }],
    ],
  },
  // U+FFFD is EF BF BD and U+10000 is F0 90 80 80: by bytes in this order, by UTF-16 units in the other.
  'names-in-byte-order': {
    entries: ['B', 'a', 'a.b', 'a-b', 'ab', 'é', '\ufffd', '\u{10000}', '~', ' ', '\\', '\n', '"'].map((name) => [
      name,
      { contents: name },
    ]),
  },
  'names-not-utf8': {
    entries: [
      ['\udcff\udcfe', { entries: [['inner', { contents: 'x' }]] }],
      ['caf\udce9', { contents: 'latin1' }],
      ['link', { target: '\udcff/caf\udce9' }],
    ],
  },
};
