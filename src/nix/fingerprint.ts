import type { PathInfo } from './path-info.ts';
import { storeDirOf } from './store-path.ts';

/**
 * The text that a signature covers: `1;<store path>;<NAR hash>;<NAR size>;<references>`, the references as full
 * paths, sorted, comma separated. Source: NixOS/nix src/libstore/path-info.cc (`fingerprint`).
 */
export function fingerprint(info: Pick<PathInfo, 'path' | 'narHash' | 'narSize' | 'references'>): string {
  const storeDir = storeDirOf(info.path);
  const references = [...new Set(info.references)].sort().map((baseName) => `${storeDir}/${baseName}`);
  return `1;${info.path};${info.narHash};${info.narSize};${references.join(',')}`;
}
