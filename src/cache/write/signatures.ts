import type { PathInfo } from '../../nix/path-info.ts';
import { type SecretKey, signPathInfo } from '../../nix/signature.ts';

/** The signatures of `info`, `others` and one by each of `keys`; what bears a key's name and is not its is dropped. */
export function signaturesOf(info: PathInfo, keys: readonly SecretKey[], others: readonly string[] = []): string[] {
  const names = new Set(keys.map(({ name }) => name));
  const foreign = [...info.sigs, ...others].filter((sig) => !names.has(sig.slice(0, sig.indexOf(':'))));
  return [...new Set([...foreign, ...keys.map((key) => signPathInfo(info, key))])];
}
