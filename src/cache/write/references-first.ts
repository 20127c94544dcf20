import type { PathInfo } from '../../nix/path-info.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';

/**
 * `roots` and all that they reach, each once and behind all that it refers to, so that any prefix is closed.
 * `referencesOf` gives undefined for what is not to be had; it is passed over. Cycles do not exist in a Nix store, except
 * of a path to itself.
 */
export function* referencesFirst(
  roots: Iterable<HashPart>,
  referencesOf: (hashPart: HashPart) => readonly HashPart[] | undefined,
): Generator<HashPart> {
  const seen = new Set<HashPart>();
  const open: { readonly hashPart: HashPart; readonly references: readonly HashPart[]; next: number }[] = [];
  const enter = (hashPart: HashPart): void => {
    if (seen.has(hashPart)) return;
    seen.add(hashPart);
    const references = referencesOf(hashPart);
    if (references) open.push({ hashPart, references, next: 0 });
  };
  for (const root of roots) {
    enter(root);
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const reference = top.references[top.next++];
      if (reference !== undefined) {
        enter(reference);
        continue;
      }
      open.pop();
      yield top.hashPart;
    }
  }
}

/** `infos`, each behind all that it refers to; references to others are passed over. */
export function infosInOrder<T extends Pick<PathInfo, 'path' | 'references'>>(infos: readonly T[]): T[] {
  const byHash = new Map(infos.map((info) => [hashPartOf(info.path), info]));
  const order = referencesFirst(byHash.keys(), (each) => byHash.get(each)?.references.map(hashPartOf));
  return [...order].flatMap((hashPart) => byHash.get(hashPart) ?? []);
}
