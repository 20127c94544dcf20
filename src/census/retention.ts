/** Which root records gc keeps, and why. Pure. */
import {
  currentPins,
  mergePins,
  mergeRoots,
  type Pin,
  placeKeyOf,
  type Root,
  rootKeyOfName,
} from '../cache-index/records.ts';
import type { BaseName } from '../nix/store-path.ts';

export interface RetentionPolicy {
  /** Unix seconds. */
  readonly now: number;
  readonly retainSeconds: number;
  /** Publishes to keep of each root name, however old. */
  readonly keepLast?: number | undefined;
}

/** Why something is kept; in the order of precedence. */
export type KeepReason =
  | { readonly kind: 'pinned'; readonly name: string }
  /** It is of the newest publish of its source and system. */
  | { readonly kind: 'newest-publish'; readonly name: string; readonly time: number }
  /** A root published within the retention. */
  | { readonly kind: 'published'; readonly name: string; readonly time: number }
  /** One of the last publishes of its name. */
  | { readonly kind: 'keep-last'; readonly name: string; readonly time: number }
  /** No root: pushed within the retention. */
  | { readonly kind: 'pushed' };

export interface KeptRoot {
  readonly path: BaseName;
  readonly reason: KeepReason;
}

export interface Retention {
  /** Pins in force, then roots; by precedence. */
  readonly kept: readonly KeptRoot[];
  /** Records that stay, oldest first. */
  readonly roots: readonly Root[];
  /** Records that go, oldest first. */
  readonly expired: readonly Root[];
  /** All records of pins, also of removed ones: their history is shown. */
  readonly pins: readonly Pin[];
}

const PRECEDENCE: readonly KeepReason['kind'][] = ['pinned', 'newest-publish', 'published', 'keep-last', 'pushed'];

/** The moment from which on things are within the retention, in Unix seconds. */
export const retainedSince = ({ now, retainSeconds }: RetentionPolicy): number => now - retainSeconds;

export function applyRetention(roots: readonly Root[], pins: readonly Pin[], policy: RetentionPolicy): Retention {
  const all = mergeRoots([roots]);
  const newest = newestPublishes(all);
  const last = lastOfEachName(all, policy.keepLast ?? 0);
  const since = retainedSince(policy);
  const reasonOf = (root: Root): KeepReason | undefined => {
    const { name, time } = root;
    if (newest.has(publishOf(root))) return { kind: 'newest-publish', name, time };
    if (time >= since) return { kind: 'published', name, time };
    return last.has(root) ? { kind: 'keep-last', name, time } : undefined;
  };
  const kept: KeptRoot[] = [];
  for (const { name, path } of currentPins(pins)) if (path) kept.push({ path, reason: { kind: 'pinned', name } });
  const staying: Root[] = [];
  const expired: Root[] = [];
  for (const root of all) {
    const reason = reasonOf(root);
    if (reason) kept.push({ path: root.path, reason });
    (reason ? staying : expired).push(root);
  }
  const rank = ({ reason }: KeptRoot): number => PRECEDENCE.indexOf(reason.kind);
  kept.sort((a, b) => rank(a) - rank(b)); // stable: within a kind by time
  return { kept, roots: staying, expired, pins: mergePins([pins]) };
}

const publishOf = (root: Root): string => JSON.stringify([placeKeyOf(root), root.run]);

/** The newest publish of each source and system; all of them when several are of one second. */
function newestPublishes(roots: readonly Root[]): Set<string> {
  const newest = new Map<string, number>();
  for (const root of roots)
    newest.set(placeKeyOf(root), Math.max(root.time, newest.get(placeKeyOf(root)) ?? root.time));
  return new Set(roots.filter((root) => root.time === newest.get(placeKeyOf(root))).map(publishOf));
}

/** The newest `count` records of each name, a source and a system by themselves. */
function lastOfEachName(roots: readonly Root[], count: number): Set<Root> {
  const seen = new Map<string, number>();
  const last = new Set<Root>();
  for (const root of roots.toReversed()) {
    const key = rootKeyOfName(root);
    const before = seen.get(key) ?? 0;
    if (before < count) last.add(root);
    seen.set(key, before + 1);
  }
  return last;
}
