/** Arbitrary values of Nix's formats, for properties. */
import fc from 'fast-check';
import { fileNameFromLatin1 } from '../../src/nar/file-name.ts';
import { hashFromBytes, hashToBytes, type NixHash } from '../../src/nix/hash.ts';
import type { NarInfo } from '../../src/nix/nar-info.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import { type BaseName, parseBaseName, type StorePath, toStorePath } from '../../src/nix/store-path.ts';
import type { FileTree } from './file-tree.ts';

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });

export const nixHash = (): fc.Arbitrary<NixHash> => bytes(32).map((raw) => hashFromBytes(raw));

export const baseName = (): fc.Arbitrary<BaseName> =>
  fc
    .tuple(bytes(20), fc.stringMatching(/^[0-9a-zA-Z+\-_?=][0-9a-zA-Z+\-._?=]{0,30}$/))
    .map(([hash, name]) => parseBaseName(`${encode(hash)}-${name}`));

const storePath = (): fc.Arbitrary<StorePath> => baseName().map((name) => toStorePath(name));

const signature = (): fc.Arbitrary<string> =>
  bytes(64).map((raw) => `cache.example.org-1:${Buffer.from(raw).toString('base64')}`);

/** Canonical ones: what parseNarInfo returns for what formatNarInfo wrote. */
export const narInfo = (): fc.Arbitrary<NarInfo> =>
  fc.record(
    {
      path: storePath(),
      url: fc.stringMatching(/^nar\/[0-9a-z]{1,60}\.nar(\.zst|\.xz)?$/),
      compression: fc.constantFrom('none', 'xz', 'zstd', 'bzip2'),
      fileHash: nixHash(),
      fileSize: fc.maxSafeNat(),
      narHash: nixHash(),
      narSize: fc.maxSafeNat().map((size) => Math.max(size, 1)),
      references: fc.uniqueArray(baseName(), { maxLength: 8 }).map((names) => names.sort()),
      deriver: baseName(),
      sigs: fc.uniqueArray(signature(), { maxLength: 3 }),
      ca: nixHash().map((hash) => `fixed:r:${hash}`),
      extra: fc
        .uniqueArray(fc.tuple(fc.stringMatching(/^X[A-Za-z]{1,10}$/), fc.stringMatching(/^[ -~]{0,30}$/)), {
          minLength: 1,
          maxLength: 3,
          selector: ([key]) => key,
        })
        .map((fields) => new Map(fields)),
    },
    { requiredKeys: ['path', 'url', 'compression', 'narHash', 'narSize', 'references', 'sigs'] },
  );

/** File names of arbitrary bytes, most of them short. */
const fileName = (): fc.Arbitrary<string> =>
  fc
    .oneof(
      fc
        .uint8Array({ minLength: 1, maxLength: 12 })
        .map((raw) => fileNameFromLatin1(Buffer.from(raw).toString('latin1'))),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
    )
    .filter((name) => name !== '.' && name !== '..' && !/[/\0]/.test(name));

const tie = fc.letrec<{ tree: FileTree; leaf: FileTree; directory: FileTree }>((self) => ({
  tree: fc.oneof({ depthSize: 'small', withCrossShrink: true }, self('leaf'), self('directory')),
  leaf: fc.oneof(
    fc.record({ contents: fc.uint8Array({ maxLength: 40 }), mode: fc.constantFrom(0o444, 0o555, 0o644, 0o711, 0o655) }),
    fc.record({ target: fileName().map((name) => `../${name}`) }),
  ),
  directory: fc
    .uniqueArray(fc.tuple(fileName(), self('tree')), { maxLength: 5, selector: ([name]) => name })
    .map((entries) => ({ entries })),
}));

export const fileTree = (): fc.Arbitrary<FileTree> => tie.tree;

/** SRI form, `sha256-<base64>`. */
export const hashToSri = (hash: NixHash): string =>
  `${hash.slice(0, hash.indexOf(':'))}-${Buffer.from(hashToBytes(hash)).toString('base64')}`;
