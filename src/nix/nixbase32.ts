/**
 * Nix's base-32: 5 bits a character, least significant digit LAST, no padding.
 *
 * Not RFC 4648: another alphabet (no e, o, t, u) and the reverse order.
 * Source: NixOS/nix src/libutil/base-nix-32.cc.
 */
import { NixcacheError } from '../errors.ts';
import { quoted } from './quoted.ts';

export const ALPHABET = '0123456789abcdfghijklmnpqrsvwxyz';

const VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < ALPHABET.length; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

/** Characters needed for `byteLength` bytes: 20 -> 32, 32 -> 52, 64 -> 103. */
export const encodedLength = (byteLength: number): number => Math.ceil((byteLength * 8) / 5);

/**
 * Encodes `bytes`. The text is made in one piece: V8 would keep one that is put together character by character as a tree
 * of 700 bytes until somebody looks into it, and callers keep a million of them.
 */
export function encode(bytes: Uint8Array): string {
  const length = encodedLength(bytes.length);
  const text = Buffer.allocUnsafe(length);
  for (let n = 0; n < length; n++) {
    const bit = (length - 1 - n) * 5;
    const at = bit >> 3;
    const shift = bit & 7;
    const value = ((bytes[at] ?? 0) >> shift) | ((bytes[at + 1] ?? 0) << (8 - shift));
    text[n] = ALPHABET.charCodeAt(value & 31);
  }
  return text.toString('latin1');
}

/**
 * Decodes `text`.
 *
 * @throws {NixcacheError} ERR_FORMAT on a character outside the alphabet, a length no byte string has, or bits set
 *   past the last whole byte (Nix's decoder lets those through; go-nix and harmonia do not, and neither do we).
 */
export function decode(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  if (encodedLength(bytes.length) !== text.length) {
    throw new NixcacheError(
      'ERR_FORMAT',
      `${quoted(text)} is not nix base-32: no bytes have ${text.length} characters`,
    );
  }
  for (let n = 0; n < text.length; n++) {
    const digit = VALUES[text.charCodeAt(text.length - 1 - n)] ?? -1;
    if (digit < 0) {
      const bad = quoted(text.charAt(text.length - 1 - n));
      throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is not nix base-32: bad character ${bad}`);
    }
    const bit = n * 5;
    const at = bit >> 3;
    const shift = bit & 7;
    bytes[at] = (bytes[at] ?? 0) | ((digit << shift) & 0xff);
    const carry = digit >> (8 - shift);
    if (at + 1 < bytes.length) bytes[at + 1] = carry;
    else if (carry !== 0) {
      throw new NixcacheError('ERR_FORMAT', `${quoted(text)} is not nix base-32: bits are set past its last byte`);
    }
  }
  return bytes;
}
