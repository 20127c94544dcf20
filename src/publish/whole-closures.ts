/** Which targets of a build the cache has already, with all that they need. */
import type { IndexReader } from '../cache/read/index-reader.ts';
import { referencesFirst } from '../cache/write/references-first.ts';
import type { Entry } from '../cache-index/entry.ts';
import type { PathInfo } from '../nix/path-info.ts';
import type { SecretKey } from '../nix/signature.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { BuildTarget } from '../nix-store/build-failure.ts';
import { isFloating } from '../nix-store/realisations.ts';
import { isVouchedFor } from './signing.ts';

export interface WholeClosuresOptions {
  readonly reader: Pick<IndexReader, 'has' | 'findEntry' | 'storeDir'>;
  readonly asksUpstreams: boolean;
  readonly excludePaths: readonly RegExp[];
  readonly maxNarBytes: number | undefined;
  /** If there are any, what none of them signed is as good as absent. */
  readonly keys: readonly SecretKey[];
}

/**
 * Those of `targets` whose outputs the cache has, and all that these reach. What it lacks of that was left out because an
 * upstream has it, or by the user's wish; without an upstream only such a wish is reason enough.
 */
export function withWholeClosure<T extends BuildTarget>(
  targets: readonly T[],
  options: WholeClosuresOptions,
): ReadonlySet<T> {
  const { reader, asksUpstreams, maxNarBytes, keys } = options;
  const hashPartsOf = ({ outputs }: T): HashPart[] => Object.values(outputs).map(hashPartOf);
  const there = targets.filter(
    (target) => !isFloating(target) && hashPartsOf(target).every((hashPart) => reader.has(hashPart)),
  );
  const mayLack = asksUpstreams || maxNarBytes !== undefined;
  if (maxNarBytes !== undefined && keys.length === 0) return new Set(there);
  const lacking = lackingClosures(there.flatMap(hashPartsOf), options, mayLack);
  return new Set(there.filter((target) => !hashPartsOf(target).some((hashPart) => lacking.has(hashPart))));
}

/**
 * The entries that `roots` reach and whose closure is not whole, or not signed. Each entry is read once.
 *
 * @param mayLack whether others may have what is not there
 */
function lackingClosures(
  roots: readonly HashPart[],
  { reader, excludePaths, keys, maxNarBytes }: WholeClosuresOptions,
  mayLack: boolean,
): ReadonlySet<HashPart> {
  const infos = new Map<HashPart, Pick<Entry, 'leftOut'> & Pick<PathInfo, 'references'>>();
  const lacking = new Set<HashPart>();
  const order = referencesFirst(roots, (hashPart) => {
    const entry = reader.findEntry(hashPart);
    if (!entry) return undefined;
    const { narInfo: info, leftOut } = entry;
    infos.set(hashPart, { references: info.references, leftOut });
    if (!isVouchedFor(info, keys)) lacking.add(hashPart);
    return info.references.map(hashPartOf);
  });
  const isExcluded = (name: string): boolean =>
    excludePaths.some((expression) => expression.test(`${reader.storeDir}/${name}`));
  for (const hashPart of order) {
    const { references = [], leftOut = [] } = infos.get(hashPart) ?? {};
    const isLacking = references.some((name) => {
      const reference = hashPartOf(name);
      if (lacking.has(reference)) return true;
      // What somebody left out, and nobody does now, is brought; who has it elsewhere need not be asked.
      const mayLackIt = leftOut.includes(name) ? maxNarBytes !== undefined : mayLack;
      return !(mayLackIt || reader.has(reference) || isExcluded(name));
    });
    if (isLacking) lacking.add(hashPart);
  }
  return lacking;
}
