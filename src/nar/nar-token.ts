/**
 * What a NAR is made of: every token is its length as 8 bytes, little end first, its bytes, and zeros up to a multiple
 * of 8. Source: NixOS/nix src/libutil/archive.cc, doc/manual/source/protocols/nix-archive/index.md.
 */

export const NAR_MAGIC = 'nix-archive-1';

/** Longest file name and symlink target, in bytes, that Nix unpacks since 2.35 (src/libutil/archive.cc). */
export const MAX_NAME_BYTES = 255;
export const MAX_TARGET_BYTES = 4095;

/** Zeros behind `size` bytes. */
export const paddingOf = (size: number): number => (8 - (size % 8)) % 8;

/** The bytes of `words`, one token each. */
export function encodeTokens(...words: readonly string[]): Buffer {
  return Buffer.concat(
    words.map((word) => {
      const token = Buffer.alloc(8 + word.length + paddingOf(word.length));
      token.writeUInt32LE(word.length);
      token.write(word, 8, 'latin1');
      return token;
    }),
  );
}

/** Longest of the format's own words that Nix reads since 2.35; they have 13 bytes at most. */
export const MAX_TAG_BYTES = 32;
/** Deepest nesting that Nix unpacks since 2.35: a root, and 63 levels below it. */
export const MAX_NAR_DEPTH = 64;
