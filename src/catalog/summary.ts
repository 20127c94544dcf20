/** What a cache holds, in a few numbers, and its roots by source and system. */

import { newestPublish } from '../cache/read/newest-publish.ts';
import { type Root, rootKeyOfName } from '../cache-index/records.ts';
import type { ClosureSizes, EntryGraph, Sizes } from '../census/entry-graph.ts';
import { nameMatcher } from '../name-glob.ts';
import { rootMatcher } from '../nix/attr-path.ts';
import { type BaseName, hashPartOf, nameOf } from '../nix/store-path.ts';
import type { Catalog } from './catalog.ts';

export interface CatalogSummary {
  readonly storeDir: string;
  readonly total: Sizes;
  readonly segments: number;
  readonly checkpoints: number;
  /** By its writer's clock. */
  readonly newestPublish: Date | undefined;
  /** By the number of entries, most first. Names only: nothing was verified. */
  readonly signers: readonly { readonly keyName: string; readonly entries: number }[];
  /** Entries without any signature. */
  readonly unsigned: number;
  readonly publicKeys: readonly string[];
  /** Names of roots, and pins in force. */
  readonly roots: number;
  readonly pins: number;
}

export function summarise(catalog: Catalog, graph: EntryGraph): CatalogSummary {
  const { reader, view, publicKeys, currentPins } = catalog;
  return {
    ...{ storeDir: reader.storeDir, total: graph.total, unsigned: graph.unsigned },
    publicKeys: publicKeys.map(({ text }) => text),
    segments: view.live.segments.length,
    checkpoints: view.live.checkpoints.length,
    newestPublish: newestPublish(view, catalog.segments),
    signers: [...graph.signers]
      .map(([keyName, entries]) => ({ keyName, entries }))
      .sort((a, b) => b.entries - a.entries || (a.keyName < b.keyName ? -1 : 1)),
    roots: groupRoots(catalog.roots).length,
    pins: currentPins.length,
  };
}

export interface RootSummary {
  readonly name: string;
  readonly system: string | undefined;
  readonly source: string | undefined;
  /** The newest record of this name, source and system. */
  readonly newest: Root;
  readonly records: number;
  readonly closure: ClosureSizes;
}

/** The newest record of each name, by source, system and name. */
export function listRoots({ roots }: Catalog, graph: EntryGraph, matches: PathFilter): RootSummary[] {
  const closures = new Map<BaseName, ClosureSizes>();
  const closureOf = (path: BaseName): ClosureSizes => {
    const known = closures.get(path) ?? graph.closureOf([hashPartOf(path)]);
    closures.set(path, known);
    return known;
  };
  return groupRoots(roots)
    .filter(({ newest }) => matches(newest.path, newest.name, newest.system !== undefined))
    .map((group) => ({ ...group, closure: closureOf(group.newest.path) }));
}

function groupRoots(roots: readonly Root[]): Omit<RootSummary, 'closure'>[] {
  const groups = new Map<string, { newest: Root; records: number }>();
  for (const root of roots) {
    const key = rootKeyOfName(root);
    groups.set(key, { newest: root, records: (groups.get(key)?.records ?? 0) + 1 }); // roots are oldest first
  }
  return [...groups]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { newest, records }]) => {
      const { name, system, source } = newest;
      return { name, system, source, newest, records };
    });
}

/** Whether a path is asked for, that perhaps a root or pin called `name` points at: of a flake's output `isOutput`. */
export type PathFilter = (path: BaseName, name?: string, isOutput?: boolean) => boolean;

/**
 * A filter for globs: over names of outputs as over attribute paths everywhere; over other names of roots and pins,
 * names of paths, base names and full paths as over any text.
 */
export function pathFilter(glob: string | undefined, storeDir: string): PathFilter {
  if (glob === undefined) return () => true;
  const matches = nameMatcher(glob);
  const isRoot = rootMatcher(glob);
  return (path, name, isOutput = false) =>
    (name !== undefined && isRoot(name, isOutput)) || [nameOf(path), path, `${storeDir}/${path}`].some(matches);
}
