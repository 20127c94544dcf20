/** Which targets of a build the cache has already, with all that they need. */
import type { IndexReader } from '../cache/read/index-reader.ts';
import { referencesFirst } from '../cache/write/references-first.ts';
import { type BaseName, type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { BuildTarget } from '../nix-store/build-failure.ts';

export interface WholeClosuresOptions {
  readonly reader: Pick<IndexReader, 'has' | 'findEntry' | 'storeDir'>;
  readonly asksUpstreams: boolean;
  readonly excludePaths: readonly RegExp[];
  readonly maxNarBytes: number | undefined;
}

/**
 * Those of `targets` whose outputs the cache has, and all that these reach. What it lacks of that was left out because an
 * upstream has it, or by the user's wish; without an upstream only such a wish is reason enough.
 */
export function withWholeClosure<T extends BuildTarget>(
  targets: readonly T[],
  options: WholeClosuresOptions,
): ReadonlySet<T> {
  const { reader, asksUpstreams, maxNarBytes } = options;
  const hashPartsOf = ({ outputs }: T): HashPart[] => Object.values(outputs).map(hashPartOf);
  const there = targets.filter((target) => hashPartsOf(target).every((hashPart) => reader.has(hashPart)));
  if (asksUpstreams || maxNarBytes !== undefined) return new Set(there);
  const lacking = lackingReferences(there.flatMap(hashPartsOf), options);
  return new Set(there.filter((target) => !hashPartsOf(target).some((hashPart) => lacking.has(hashPart))));
}

/** The entries that `roots` reach and whose closure is not whole. Each entry is read once. */
function lackingReferences(
  roots: readonly HashPart[],
  { reader, excludePaths }: WholeClosuresOptions,
): ReadonlySet<HashPart> {
  const references = new Map<HashPart, readonly BaseName[]>();
  const order = referencesFirst(roots, (hashPart) => {
    const own = reader.findEntry(hashPart)?.narInfo.references;
    if (own) references.set(hashPart, own);
    return own?.map(hashPartOf);
  });
  const isExcluded = (name: BaseName): boolean =>
    excludePaths.some((expression) => expression.test(`${reader.storeDir}/${name}`));
  const lacking = new Set<HashPart>();
  const isLacking = (name: BaseName): boolean =>
    lacking.has(hashPartOf(name)) || !(reader.has(hashPartOf(name)) || isExcluded(name));
  for (const hashPart of order) if (references.get(hashPart)?.some(isLacking)) lacking.add(hashPart);
  return lacking;
}
