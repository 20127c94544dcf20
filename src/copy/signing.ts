/** Whose signatures count. */
import type { NarInfo } from '../nix/nar-info.ts';
import { findSigner, type PublicKey, type SecretKey } from '../nix/signature.ts';

/** Whether nothing is asked for, or one of `keys` signed `narInfo`. */
export const isTrusted = (narInfo: NarInfo, keys: readonly PublicKey[]): boolean =>
  keys.length === 0 || findSigner(narInfo, keys) !== undefined;

export const UNTRUSTED = 'no trusted key signed it';

/** Whether each of `keys` has signed `narInfo`. */
export const isSignedBy = (narInfo: NarInfo, keys: readonly SecretKey[]): boolean =>
  keys.every(({ publicKey }) => findSigner(narInfo, [publicKey]) !== undefined);
