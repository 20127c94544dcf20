/**
 * Ed25519 keys and signatures in Nix's text form, `name:base64`.
 *
 * A secret key is libsodium's 64 bytes: 32 of seed, then the 32 of the public key. Everything before the first colon
 * is the name. Source: NixOS/nix src/libutil/signature/local-keys.cc.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import type { PathInfo } from './path-info.ts';
import { quoted } from './quoted.ts';
import { storeDirOf } from './store-path.ts';

export interface PublicKey {
  readonly name: string;
  /** `name:base64`, what stands in trusted-public-keys. */
  readonly text: string;
  readonly key: KeyObject;
}

export interface SecretKey {
  readonly name: string;
  readonly publicKey: PublicKey;
  readonly key: KeyObject;
}

/** DER around a raw Ed25519 seed (RFC 8410 section 7) and a raw public key (section 4). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const SIGNATURE_BYTES = 64;
/** The longest file or text that is looked at for a secret key, which has some 100 bytes. */
export const MAX_SECRET_KEY_BYTES = 4096;

/** @throws {NixcacheError} ERR_KEY */
export function parsePublicKey(text: string): PublicKey {
  const { name, bytes } = parseKey(text, 32, 'public');
  return {
    name,
    text: `${name}:${bytes.toString('base64')}`,
    key: createPublicKey({ key: Buffer.concat([SPKI_PREFIX, bytes]), format: 'der', type: 'spki' }),
  };
}

/** Which of `texts` are public keys: whoever names keys in a cache may name nonsense. */
export function sortPublicKeys(texts: Iterable<string>): {
  readonly keys: readonly PublicKey[];
  readonly malformed: readonly string[];
} {
  const keys: PublicKey[] = [];
  const malformed: string[] = [];
  for (const text of texts) {
    try {
      keys.push(parsePublicKey(text));
    } catch (error) {
      if (!isNixcacheError(error, 'ERR_KEY')) throw error;
      malformed.push(text);
    }
  }
  return { keys, malformed };
}

/** @throws {NixcacheError} ERR_KEY, which never quotes the key */
export function parseSecretKey(text: string): SecretKey {
  const { name, bytes } = parseKey(text, 64, 'secret');
  const key = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, bytes.subarray(0, 32)]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = parsePublicKey(`${name}:${bytes.subarray(32).toString('base64')}`);
  if (!createPublicKey(key).equals(publicKey.key)) {
    throw new NixcacheError('ERR_KEY', `secret key ${quoted(name)} is damaged: its two halves do not belong together`);
  }
  return { name, publicKey, key };
}

/**
 * Whether all of `text` is a secret key. As Nix reads it: also without the `=` at its end. Its two halves belong together,
 * so no other text is taken for one. Linear in time, and fast for what is none.
 */
export function isSecretKey(text: string): boolean {
  const colon = text.indexOf(':');
  if (colon < 0 || /[^A-Za-z0-9+/=\s]/.test(text.slice(colon + 1))) return false;
  const [, base64] = /^([A-Za-z0-9+/]{86})(?:==)?$/.exec(text.slice(colon + 1).replaceAll(/\s+/g, '')) ?? [];
  if (base64 === undefined) return false;
  try {
    parseSecretKey(`${text.slice(0, colon)}:${base64}==`);
    return true;
  } catch {
    return false;
  }
}

/** The 64 bytes of a secret key as base64, without its name. */
export function secretOf({ key }: SecretKey): string {
  const { d = '', x = '' } = key.export({ format: 'jwk' });
  return Buffer.concat([Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')]).toString('base64');
}

function parseKey(text: string, size: number, kind: string): { name: string; bytes: Buffer } {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(colon, 0)).trim();
  if (name === '') {
    throw new NixcacheError(
      'ERR_KEY',
      `a ${kind} key must read 'name:base64', as nixcache key ${kind === 'secret' ? 'generate writes' : 'public prints'} it`,
    );
  }
  const base64 = text.slice(colon + 1).replaceAll(/\s/g, '');
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length !== size || bytes.toString('base64') !== base64) {
    // The name of a secret key that does not parse may be a piece of its secret.
    const which = kind === 'secret' ? 'the secret key' : `public key ${quoted(name)}`;
    throw new NixcacheError('ERR_KEY', `${which} is not ${size} bytes of base64; is it a ${kind} key?`);
  }
  return { name, bytes };
}

/** A new key pair; `secret` is the text of the secret key file. */
export function generateKey(name: string): { readonly secret: string; readonly public: string } {
  if (!/^[^\s:]+$/.test(name)) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${quoted(name)} cannot name a key: use a name like cache.example.org-1, without spaces or colons`,
    );
  }
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const seed = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32);
  const point = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  return {
    secret: `${name}:${Buffer.concat([seed, point]).toString('base64')}`,
    public: `${name}:${point.toString('base64')}`,
  };
}

/** The signature of `info` by `secretKey`, as `name:base64`. */
export function signPathInfo(info: Pick<PathInfo, SignedFact>, secretKey: SecretKey): string {
  const text = fingerprint(info);
  const made = MADE.get(secretKey) ?? new Map<string, string>();
  MADE.set(secretKey, made);
  const known = made.get(text);
  if (known !== undefined) return known;
  const signature = signText(text, secretKey);
  if (made.size >= MAX_MADE) made.clear();
  made.set(text, signature);
  return signature;
}

/** The signature of `text` by `secretKey`, as `name:base64`. */
export const signText = (text: string, secretKey: SecretKey): string =>
  `${secretKey.name}:${sign(null, Buffer.from(text), secretKey.key).toString('base64')}`;

/** A publish asks several times about each path of its closure, at 0.05 ms a signature. */
const MADE = new WeakMap<SecretKey, Map<string, string>>();
/** Some 30 MB at most. */
const MAX_MADE = 32_768;

/**
 * Whether `secretKey` has signed `info`. Ed25519 gives one signature for one text, so it is made again and compared, at half
 * the cost of verifying.
 */
export const hasSigned = (secretKey: SecretKey, info: Pick<PathInfo, SignedFact | 'sigs'>): boolean =>
  info.sigs.some((sig) => sig.startsWith(`${secretKey.name}:`)) && info.sigs.includes(signPathInfo(info, secretKey));

/** The signatures of `info`, `others` and one by each of `keys`; what bears a key's name and is not its is dropped. */
export function signaturesOf(info: PathInfo, keys: readonly SecretKey[], others: readonly string[] = []): string[] {
  const names = new Set(keys.map(({ name }) => name));
  const foreign = [...info.sigs, ...others].filter((sig) => !names.has(sig.slice(0, sig.indexOf(':'))));
  return [...new Set([...foreign, ...keys.map((key) => signPathInfo(info, key))])];
}

/** Whether a signature of the one is one of the other: they say the same of everything that it covers. */
export const isSameSigned = (a: Pick<PathInfo, SignedFact>, b: Pick<PathInfo, SignedFact>): boolean =>
  fingerprint(a) === fingerprint(b);

/** What a signature covers. */
type SignedFact = 'path' | 'narHash' | 'narSize' | 'references';

/**
 * Whether Nix since 2.34 reads `text` as a signature: `name:base64`, neither part empty, of whatever algorithm. None is a name
 * that does things to the terminal in which it is shown.
 */
export const isSignature = (text: string): boolean => text.length <= MAX_SIGNATURE_LENGTH && SIGNATURE.test(text);

/** 128 KiB: above the longest of any scheme that is standardised, SLH-DSA's 50 KB. */
const MAX_SIGNATURE_LENGTH = 128 * 1024;

const SIGNATURE = /^[^:\p{Cc}]+:(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=?|[A-Za-z0-9+/]{2}(?:==)?)$/u;

/** The first of `keys` that signed `info`, or undefined. Signatures that cannot be read count as absent. */
export function findSigner(
  info: Pick<PathInfo, SignedFact | 'sigs'>,
  keys: readonly PublicKey[],
): PublicKey | undefined {
  return findSignerOf(() => fingerprint(info), info.sigs, keys);
}

/** Whether one of `sigs` is a signature of `text` by one of `keys`. */
export const verifiesText = (text: string, sigs: readonly string[], keys: readonly PublicKey[]): boolean =>
  findSignerOf(() => text, sigs, keys) !== undefined;

function findSignerOf(
  textOf: () => string,
  sigs: readonly string[],
  keys: readonly PublicKey[],
): PublicKey | undefined {
  let message: Buffer | undefined;
  for (const sig of sigs) {
    if (!isSignature(sig)) continue;
    const colon = sig.indexOf(':');
    const signature = Buffer.from(sig.slice(colon + 1), 'base64');
    if (signature.length !== SIGNATURE_BYTES) continue;
    for (const key of keys) {
      if (key.name !== sig.slice(0, colon)) continue;
      message ??= Buffer.from(textOf());
      if (verify(null, message, key.key, signature)) return key;
    }
  }
  return undefined;
}

/**
 * The text that a signature covers: `1;<store path>;<NAR hash>;<NAR size>;<references>`, the references as full
 * paths, sorted, comma separated. Source: NixOS/nix src/libstore/path-info.cc (`fingerprint`).
 */
export function fingerprint(info: Pick<PathInfo, SignedFact>): string {
  const storeDir = storeDirOf(info.path);
  const references = [...new Set(info.references)].sort().map((baseName) => `${storeDir}/${baseName}`);
  return `1;${info.path};${info.narHash};${info.narSize};${references.join(',')}`;
}
