import type { PathInfo } from '../nix/path-info.ts';
import { type BaseName, baseNameOf } from '../nix/store-path.ts';

/**
 * `infos` with every path behind all that it refers to, so that any prefix of the list is closed. References outside
 * the list are ignored. Reference cycles do not exist in a Nix store, except of a path to itself.
 */
export function referencesFirst(infos: readonly PathInfo[]): PathInfo[] {
  const byName = new Map<BaseName, PathInfo>(infos.map((info) => [baseNameOf(info.path), info]));
  const seen = new Set<BaseName>();
  const ordered: PathInfo[] = [];
  for (const root of infos) {
    const open: { readonly info: PathInfo; next: number }[] = [];
    const enter = (info: PathInfo): void => {
      const name = baseNameOf(info.path);
      if (seen.has(name)) return;
      seen.add(name);
      open.push({ info, next: 0 });
    };
    enter(root);
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const reference = top.info.references[top.next++];
      if (reference === undefined) ordered.push(open.pop()?.info ?? top.info);
      else {
        const info = byName.get(reference);
        if (info) enter(info);
      }
    }
  }
  return ordered;
}
