/** Everything about one path in a cache: its entry, where its bytes lie, what needs it, and why gc keeps it. */

import type { Entry } from '../cache-index/entry.ts';
import { type Root, rootKeyOfName } from '../cache-index/records.ts';
import type { ClosureSizes, EntryGraph } from '../census/entry-graph.ts';
import { type Marks, mark, type WhyKept } from '../census/marks.ts';
import {
  applyRetention,
  type KeepReason,
  type Retention,
  type RetentionPolicy,
  retainedSince,
} from '../census/retention.ts';
import { takeCensus } from '../census/take-census.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { findSigner, type PublicKey } from '../nix/signature.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { Catalog } from './catalog.ts';
import { byName } from './look-up.ts';

export interface PathReport {
  readonly entry: Entry;
  /** The narinfo as clients get it. */
  readonly narInfoText: string;
  /** The segment that holds the entry. */
  readonly segment: string;
  /** When a publisher last needed it. */
  readonly asserted: Date;
  readonly signatures: readonly SignatureReport[];
  readonly closure: ClosureSizes;
  /** Entries that refer to it, by name. */
  readonly dependents: readonly BaseName[];
  /** The newest record of each root whose closure holds it. */
  readonly roots: readonly ReachingRoot[];
  /** Pins in force whose closure holds it. */
  readonly pins: readonly { readonly name: string; readonly path: BaseName }[];
  readonly gc: GcReason;
}

interface SignatureReport {
  readonly keyName: string;
  /** Against the keys that the cache's publishers named; `unknown-key` when none is called so. */
  readonly verdict: 'valid' | 'invalid' | 'unknown-key';
}

interface ReachingRoot {
  readonly root: Root;
  /** Whether it is what the name stands for now, or an earlier publish. */
  readonly isCurrent: boolean;
}

/** What gc would do with a path if it ran now. */
export type GcReason =
  | { readonly verdict: 'kept'; readonly reason: KeepReason; readonly through: BaseName | HashPart }
  | { readonly verdict: 'dropped' }
  /** gc would stop: it cannot read all of the cache. */
  | { readonly verdict: 'unknown'; readonly why: string };

/** About a path that `lookUp` found. */
export function reportPath(
  hashPart: HashPart,
  catalog: Catalog,
  { graph, policy }: { readonly graph: EntryGraph; readonly policy: RetentionPolicy },
): PathReport {
  const { reader, currentPins } = catalog;
  const found = reader.findAsserted(hashPart);
  if (!found) throw new Error(`${hashPart} was found, and is gone`);
  const { entry, tag, asserted } = found;
  const needing = graph.needing(hashPart);
  return {
    entry,
    narInfoText: reader.findNarInfoText(hashPart) ?? '',
    segment: tag,
    asserted: new Date(asserted * 1000),
    signatures: checkSignatures(entry, catalog.publicKeys),
    closure: graph.closureOf([hashPart]),
    dependents: graph
      .dependentsOf(hashPart)
      .flatMap((each) => baseName(each, catalog) ?? [])
      .sort(byName),
    roots: reachingRoots(catalog, needing),
    pins: currentPins.flatMap(({ name, path }) => (path && needing.has(hashPartOf(path)) ? [{ name, path }] : [])),
    gc: reasonOf(hashPart, catalog, policy),
  };
}

/** What gc would do with a path, without failing over a cache that cannot be read whole. */
export function reasonOf(hashPart: HashPart, catalog: Catalog, policy: RetentionPolicy): GcReason {
  try {
    const why = judge(catalog, policy).why(hashPart);
    if (!why) return { verdict: 'dropped' };
    return { verdict: 'kept', reason: why.reason, through: baseName(why.through, catalog) ?? why.through };
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_INDEX', 'ERR_FORMAT')) throw error;
    return { verdict: 'unknown', why: messageOf(error) };
  }
}

function checkSignatures({ narInfo }: Entry, keys: readonly PublicKey[]): SignatureReport[] {
  return narInfo.sigs.map((sig) => {
    const keyName = sig.slice(0, sig.indexOf(':'));
    const named = keys.filter(({ name }) => name === keyName);
    if (named.length === 0) return { keyName, verdict: 'unknown-key' };
    return { keyName, verdict: findSigner({ ...narInfo, sigs: [sig] }, named) ? 'valid' : 'invalid' };
  });
}

function reachingRoots({ roots }: Catalog, needing: ReadonlySet<HashPart>): ReachingRoot[] {
  const newest = new Map(roots.map((root) => [rootKeyOfName(root), root])); // roots are oldest first
  const reaching = new Map(
    roots.filter(({ path }) => needing.has(hashPartOf(path))).map((root) => [rootKeyOfName(root), root]),
  );
  return [...reaching]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, root]) => ({ root, isCurrent: newest.get(key)?.path === root.path }));
}

const baseName = (hashPart: HashPart, { reader }: Catalog): BaseName | undefined => {
  const entry = reader.findEntry(hashPart);
  return entry && baseNameOf(entry.narInfo.path);
};

/** What gc would decide now; a value, so that several paths can be asked about. */
interface GcVerdict {
  readonly retention: Retention;
  /** Undefined for what gc would drop. */
  why(hashPart: HashPart): WhyKept | undefined;
}

/** @throws {NixcacheError} ERR_INDEX when gc would stop, since it cannot read all of the cache */
function judge(catalog: Catalog, policy: RetentionPolicy): GcVerdict {
  const [unreadable] = catalog.unreadable;
  if (unreadable !== undefined) throw wouldStop(unreadable);
  const retention = applyRetention(catalog.roots, catalog.pins, policy);
  const held = new Map(catalog.reader.segments().map((segment) => [segment.tag, segment]));
  const census = takeCensus(catalog.segments, held, (tag, why) => wouldStop(`segment ${tag}: ${why}`));
  const marks: Marks = mark(census, retention.kept, retainedSince(policy));
  return { retention, why: (hashPart) => marks.why(hashPart) };
}

const wouldStop = (reason: string): NixcacheError =>
  new NixcacheError('ERR_INDEX', `gc would stop and drop nothing: ${reason}; run nixcache verify`);
