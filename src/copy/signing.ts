/** Whose signatures count, and adding our own. */
import type { NarInfo } from '../nix/nar-info.ts';
import { findSigner, type PublicKey, type SecretKey, signPathInfo } from '../nix/signature.ts';

/** Whether nothing is asked for, or one of `keys` signed `narInfo`. */
export const isTrusted = (narInfo: NarInfo, keys: readonly PublicKey[]): boolean =>
  keys.length === 0 || findSigner(narInfo, keys) !== undefined;

export const UNTRUSTED = 'no trusted key signed it';

/** Whether each of `keys` has signed `narInfo`. */
export const isSignedBy = (narInfo: NarInfo, keys: readonly SecretKey[]): boolean =>
  keys.every(({ publicKey }) => findSigner(narInfo, [publicKey]) !== undefined);

/** The signatures of `narInfo`, `others` and one by each of `keys`; what bears a key's name and is not its is dropped. */
export function signaturesOf(
  narInfo: NarInfo,
  keys: readonly SecretKey[],
  others: readonly string[] = [],
): readonly string[] {
  const names = new Set(keys.map(({ name }) => name));
  const foreign = [...narInfo.sigs, ...others].filter((sig) => !names.has(sig.slice(0, sig.indexOf(':'))));
  return [...new Set([...foreign, ...keys.map((key) => signPathInfo(narInfo, key))])];
}
