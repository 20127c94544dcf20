/**
 * Hashes as Nix writes them: `algo:` + hex | nix base-32 | base-64 (told apart by length), or SRI `algo-base64`.
 *
 * Inside nixcache a hash is always text in one canonical form, `algo:<nix base-32>`, so that hashes compare with ===.
 * Source: NixOS/nix src/libutil/hash.cc.
 */
import { NixcacheError } from '../errors.ts';
import { ALPHABET, decode, encode, encodedLength } from './nixbase32.ts';
import { quoted } from './quoted.ts';

/** `sha256:<52 characters of nix base-32>`; never an OCI digest, which is hex. */
export type NixHash = string & { readonly __brand: 'NixHash' };

const BYTES = { md5: 16, sha1: 20, sha256: 32, sha512: 64, blake3: 32 } as const;
export type HashAlgorithm = keyof typeof BYTES;

const HEX = /^[0-9a-fA-F]*$/;
/** Already canonical, as nearly every hash we meet is; the first digit of 256 bits in base 32 is 0 or 1. */
const CANONICAL_SHA256 = new RegExp(`^sha256:[01][${ALPHABET}]{51}$`);

const isAlgorithm = (text: string): text is HashAlgorithm => Object.hasOwn(BYTES, text);

/**
 * The canonical form of raw hash bytes.
 *
 * @throws {NixcacheError} ERR_FORMAT when there are not as many as `algorithm` makes
 */
export function hashFromBytes(bytes: Uint8Array, algorithm: HashAlgorithm = 'sha256'): NixHash {
  if (bytes.length !== BYTES[algorithm]) {
    throw new NixcacheError('ERR_FORMAT', `a ${algorithm} hash has ${BYTES[algorithm]} bytes, not ${bytes.length}`);
  }
  return `${algorithm}:${encode(bytes)}` as NixHash;
}

/** The raw bytes of a canonical hash. */
export const hashToBytes = (hash: NixHash): Uint8Array => decode(hash.slice(hash.indexOf(':') + 1));

/**
 * The canonical form of a hash in hexadecimal.
 *
 * @throws {NixcacheError} ERR_FORMAT
 */
export const hashFromHex = (hex: string, algorithm: HashAlgorithm = 'sha256'): NixHash => {
  if (hex.length !== BYTES[algorithm] * 2 || !HEX.test(hex)) {
    throw new NixcacheError('ERR_FORMAT', `${quoted(hex)} is not a ${algorithm} hash in hexadecimal`);
  }
  return hashFromBytes(Buffer.from(hex, 'hex'), algorithm);
};

/** Lower-case hexadecimal, without the algorithm. */
export const hashToHex = (hash: NixHash): string => Buffer.from(hashToBytes(hash)).toString('hex');

/** Nix base-32, without the algorithm: what stands in NAR URLs. */
export const hashToBase32 = (hash: NixHash): string => hash.slice(hash.indexOf(':') + 1);

/**
 * Parses a hash in any of Nix's text forms; the algorithm must be named.
 *
 * @throws {NixcacheError} ERR_FORMAT
 */
export function parseHash(text: string): NixHash {
  if (CANONICAL_SHA256.test(text)) return text as NixHash;
  const at = text.search(/[:-]/);
  const algorithm = text.slice(0, at);
  if (at < 0 || !isAlgorithm(algorithm)) {
    throw new NixcacheError('ERR_FORMAT', `hash ${quoted(text)} does not start with a known algorithm and ':' or '-'`);
  }
  const rest = text.slice(at + 1);
  const bytes = text[at] === '-' ? fromBase64(rest) : fromAnyBase(rest, BYTES[algorithm]);
  if (bytes?.length !== BYTES[algorithm]) {
    throw new NixcacheError('ERR_FORMAT', `hash ${quoted(text)} has the wrong length or alphabet for ${algorithm}`);
  }
  return hashFromBytes(bytes, algorithm);
}

function fromAnyBase(text: string, size: number): Uint8Array | undefined {
  if (text.length === size * 2) return HEX.test(text) ? Buffer.from(text, 'hex') : undefined;
  if (text.length === encodedLength(size)) return decode(text);
  return fromBase64(text);
}

/** Strict but for the padding, which Nix does not ask for. */
function fromBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  const padded = bytes.toString('base64');
  return padded === text || padded.replace(/=+$/, '') === text ? bytes : undefined;
}
