/** Everything about a name: what roots and pins of that name stand for, and stood for before. */
import { currentRoots, type Pin, type Root } from '../cache-index/records.ts';
import type { ClosureSizes, EntryGraph } from '../census/entry-graph.ts';
import { applyRetention, type KeepReason, type RetentionPolicy } from '../census/retention.ts';
import { type BaseName, hashPartOf } from '../nix/store-path.ts';
import type { Catalog } from './catalog.ts';

export interface NameReport {
  readonly name: string;
  /** Newest first. */
  readonly roots: readonly RootRecord[];
  /** What a pin of that name stands for now. */
  readonly pinned: BaseName | undefined;
  /** Records of pins, newest first. */
  readonly pins: readonly Pin[];
  /** Of each path that the name stands for now, as a pin or as a root of some source and system. */
  readonly closures: ReadonlyMap<BaseName, ClosureSizes>;
}

interface RootRecord {
  readonly root: Root;
  readonly inCache: boolean;
  /** Why gc keeps the record; undefined when it would drop it. */
  readonly keptAs: KeepReason['kind'] | undefined;
}

/** About a name that `lookUp` found. */
export function reportName(
  name: string,
  catalog: Catalog,
  { graph, policy }: { readonly graph: EntryGraph; readonly policy: RetentionPolicy },
): NameReport {
  const { reader, currentPins } = catalog;
  const { kept } = applyRetention(catalog.roots, catalog.pins, policy);
  const keyOf = (path: BaseName, time: number): string => `${path} ${time}`;
  const keptAs = new Map<string, KeepReason['kind']>();
  for (const { path, reason } of kept) {
    if (!('time' in reason) || reason.name !== name) continue;
    const key = keyOf(path, reason.time);
    if (!keptAs.has(key)) keptAs.set(key, reason.kind);
  }
  const roots = catalog.roots.filter((root) => root.name === name).toReversed();
  const pinned = currentPins.find((pin) => pin.name === name)?.path;
  const current = currentRoots(roots).map(({ path }) => path);
  const paths = new Set([...(pinned === undefined ? [] : [pinned]), ...current]);
  return {
    name,
    roots: roots.map((root) => ({
      ...{ root, inCache: reader.has(hashPartOf(root.path)) },
      keptAs: keptAs.get(keyOf(root.path, root.time)),
    })),
    pinned,
    pins: catalog.pins.filter((pin) => pin.name === name).toReversed(),
    closures: new Map([...paths].map((path) => [path, graph.closureOf([hashPartOf(path)])])),
  };
}
