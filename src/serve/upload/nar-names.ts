/** Names that uploaded NARs may have: `nar/<file hash>.nar.xz` and the like, as Nix makes them. */
import { type NixHash, parseHash } from '../../nix/hash.ts';
import { ALPHABET } from '../../nix/nixbase32.ts';

/** What a NAR is called, and what that says of it. */
export interface NarName {
  /** The last part of its URL; no other characters than those of a hash, letters, digits and dots. */
  readonly name: string;
  readonly fileHash: NixHash;
  /** Undefined where the name does not tell: Nix gives gzip and others no ending. */
  readonly compression: string | undefined;
}

const NAR_URL = new RegExp(`^nar/(([01][${ALPHABET}]{51})\\.nar(?:\\.([0-9a-z]{1,8}))?)$`);

/** By the endings of Nix and of ours. Source: NixOS/nix src/libstore/binary-cache-store.cc. */
const COMPRESSIONS: Readonly<Record<string, string>> = {
  ...{ xz: 'xz', bz2: 'bzip2', zst: 'zstd', lzip: 'lzip', lz4: 'lz4', br: 'br', gz: 'gzip', lzma: 'lzma' },
};

/** Undefined for a URL that no uploaded NAR has. */
export function parseNarUrl(url: string): NarName | undefined {
  const [, name, hash, ending] = NAR_URL.exec(url) ?? [];
  if (name === undefined || hash === undefined) return undefined;
  const compression = ending === undefined ? undefined : COMPRESSIONS[ending];
  if (ending !== undefined && compression === undefined) return undefined;
  return { name, fileHash: parseHash(`sha256:${hash}`), compression };
}
