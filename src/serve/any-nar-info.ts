import { type NarInfo, parseNarInfo } from '../nix/nar-info.ts';
import { isStoreDir } from '../nix/store-path.ts';

/** Parses a narinfo of whatever store. @throws {NixcacheError} ERR_FORMAT */
export function parseAnyNarInfo(text: string): NarInfo {
  const [, storeDir = ''] = /^StorePath: (.*)\/[^/\n]*$/m.exec(text) ?? [];
  return isStoreDir(storeDir) ? parseNarInfo(text, storeDir) : parseNarInfo(text);
}
