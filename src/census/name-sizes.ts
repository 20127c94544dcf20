/** Where the bytes of a cache are, by the names of packages: `bash` for `bash-5.2` and `bash-5.2-doc`. */
import type { Sizes } from './entry-graph.ts';
import type { Inventory } from './inventory.ts';
import type { Slices } from './slices.ts';

interface NameSizes extends Sizes {
  /** In small letters. */
  readonly name: string;
  /** One of its entries, the largest. */
  readonly sample: number;
}

export interface SizesByName {
  /** By compressed size, largest first. */
  readonly largest: readonly NameSizes[];
  /** What all others have together, and how many names that is. */
  readonly rest: Sizes & { readonly names: number };
}

/** What is before the version, which begins at the first dash that no letter follows. Source: NixOS/nix src/libstore/names.cc. */
export const packageOf = (name: string): string => /^(.+?)-[^a-zA-Z]/.exec(name)?.[1] ?? name;

/** How many are kept beside the ones that count, until the others are known. */
const SPARE = 4;

/** Steps of an entry. */
const ENTRY = 30;

/** The `count` names with most bytes. `byName` is all entries in the order of their names. */
export async function sizesByName(
  inventory: Inventory,
  byName: Uint32Array,
  count: number,
  slices: Slices,
): Promise<SizesByName> {
  let held: Summed[] = [];
  let rest = { paths: 0, narBytes: 0, fileBytes: 0, names: 0 };
  const cut = (limit: number): void => {
    held = merged(held);
    held.sort((a, b) => b.fileBytes - a.fileBytes || (a.name < b.name ? -1 : 1));
    for (const { paths, narBytes, fileBytes } of held.slice(limit)) {
      rest = {
        paths: rest.paths + paths,
        narBytes: rest.narBytes + narBytes,
        fileBytes: rest.fileBytes + fileBytes,
        names: rest.names + 1,
      };
    }
    held = held.slice(0, limit);
  };
  // Names of one package are mostly neighbours, so that no more than a few are held at once.
  let current: Summed | undefined;
  for (const entry of byName) {
    const name = packageOf(inventory.names.at(entry));
    const [narBytes, fileBytes] = [inventory.narBytesOf(entry), inventory.fileBytesOf(entry)];
    if (current?.name !== name) {
      if (current !== undefined) held.push(current);
      if (held.length >= count * SPARE) cut(count);
      current = { name, paths: 0, narBytes: 0, fileBytes: 0, sample: entry };
    }
    if (fileBytes > inventory.fileBytesOf(current.sample)) current.sample = entry;
    current.paths++;
    current.narBytes += narBytes;
    current.fileBytes += fileBytes;
    if (slices.spend(ENTRY)) await slices.turn();
  }
  if (current !== undefined) held.push(current);
  cut(count);
  return { largest: held, rest };
}

type Summed = { -readonly [K in keyof NameSizes]: NameSizes[K] };

/** Each name once: `foo` and `foo-1` are no neighbours where there is a `foo+x`. */
function merged(all: readonly Summed[]): Summed[] {
  const byName = new Map<string, Summed>();
  for (const sizes of all) {
    const held = byName.get(sizes.name);
    if (held === undefined) byName.set(sizes.name, sizes);
    else {
      held.paths += sizes.paths;
      held.narBytes += sizes.narBytes;
      held.fileBytes += sizes.fileBytes;
    }
  }
  return [...byName.values()];
}
