/** What a repair is going to do, as a value: printed by `--dry-run`, and carried out otherwise. */

import type { Entry } from '../cache-index/entry.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import { canDecompress } from '../nar/decompress.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { findSigner } from '../nix/signature.ts';
import { type BaseName, type HashPart, hashPartOf, type StorePath, toStorePath } from '../nix/store-path.ts';
import type { BlobFetcher } from '../oci/content-store.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { whichHave } from '../upstream/upstream-set.ts';
import { checkNar } from './check-nar.ts';
import type { Inspection } from './inspect.ts';
import type { LocalSource } from './local-source.ts';
import { narInStore } from './nar-in-cache.ts';
import { dependentsOf, entryAt, type Forms, lostForms } from './needs.ts';

export interface PlanRepairOptions extends CallOptions {
  readonly store: BlobFetcher;
  readonly local: LocalSource | undefined;
  readonly upstreams: readonly Upstream[];
  /** Whether entries that lack a reference for good are dropped too. */
  readonly dropIncomplete: boolean;
}

interface PlannedPush {
  readonly info: PathInfo;
  /** Compression of the damaged bytes that these must not equal. */
  readonly unlike: string | undefined;
}

export interface PlannedFetch {
  readonly hashPart: HashPart;
  readonly entry: Entry;
  /** Undefined: from the cache itself, where its bytes are whole in a blob that is not. */
  readonly upstream: Upstream | undefined;
  readonly narInfo: NarInfo;
}

export interface PlannedDrop {
  readonly path: StorePath;
  readonly reason: string;
}

export interface RepairPlan {
  /** From the local store, references first. */
  readonly push: readonly PlannedPush[];
  /** From upstreams, and from damaged packs. */
  readonly fetch: readonly PlannedFetch[];
  readonly drop: ReadonlyMap<HashPart, PlannedDrop>;
  /** Segments to be written anew. */
  readonly rewrite: readonly string[];
  readonly retag: readonly string[];
  /** Checkpoints that another stands in for, and those of which nothing is known. */
  readonly replaceCheckpoints: readonly string[];
  readonly removeCheckpoints: readonly string[];
  readonly cacheIndex: boolean;
  /** Why nothing may be dropped now. */
  readonly blocked: string | undefined;
}

export async function planRepair(inspection: Inspection, options: PlanRepairOptions): Promise<RepairPlan> {
  const { findings, segments, scan } = inspection;
  const lost = lostForms(inspection);
  const push = await planPushes(inspection, lost, options);
  const pushed = new Set(push.map(({ info }) => hashPartOf(info.path)));
  const fetch = await planFetches(
    [...lost].filter(([hashPart]) => !pushed.has(hashPart)),
    options,
  );
  const healed = new Set([...pushed, ...fetch.map(({ hashPart }) => hashPart)]);
  const unanswered = findings.list.find(({ kind }) => kind === 'unanswered');
  const { drop, blocked } = await planDrops(inspection, lost, healed, options);
  const rewrite = segments.filter((segment) => segment.isDamaged || (drop.size > 0 && holdsAny(segment, drop)));
  const kinds = new Set(findings.list.map(({ kind }) => kind));
  return {
    ...{ push, fetch, drop, rewrite: rewrite.map(({ tag }) => tag) },
    retag: findings.list.filter(({ kind }) => kind === 'segment-untagged').map(({ what }) => what),
    replaceCheckpoints: scan.damagedCheckpoints,
    removeCheckpoints: scan.lostCheckpoints,
    cacheIndex:
      scan.index !== 'foreign' &&
      (rewrite.length > 0 ||
        ['missing', 'stale', 'unreadable'].some((what) => kinds.has(`cache-index-${what}` as never))),
    blocked: unanswered ? `the registry gives an error for ${unanswered.what}` : blocked,
  };
}

const holdsAny = (segment: Inspection['segments'][number], drop: ReadonlyMap<HashPart, unknown>): boolean => {
  for (const { entry } of segment.entries()) if (drop.has(hashPartOf(entry.narInfo.path))) return true;
  return false;
};

/** What the local store has of what is lost, missing or unsigned. */
async function planPushes(
  inspection: Inspection,
  lost: ReadonlyMap<HashPart, Forms>,
  { local, upstreams, signal }: PlanRepairOptions,
): Promise<PlannedPush[]> {
  if (!local) return [];
  const { missing, unsigned, table, segments, keys, storeDir } = inspection;
  const entries = new Map<StorePath, { readonly entry: Entry; readonly unlike: string | undefined }>();
  for (const { newest } of lost.values()) {
    const entry = entryAt(newest);
    const isCorrupt = newest.segment.faults.get(newest.row)?.nar === 'corrupt';
    entries.set(entry.narInfo.path, { entry, unlike: isCorrupt ? entry.narInfo.compression : undefined });
  }
  if (local.signs && unsigned.size > 0) {
    for (const segment of segments.toReversed()) {
      for (const { entry } of segment.entries()) {
        const { path } = entry.narInfo;
        if (unsigned.has(path) && !entries.has(path)) entries.set(path, { entry, unlike: undefined });
      }
    }
  }
  const absent = [...missing.values()].map((name: BaseName) => toStorePath(name, storeDir));
  const valid = await local.queryValid([...entries.keys(), ...absent], { signal });
  const pushes = new Map<StorePath, PlannedPush>();
  for (const info of valid) {
    const held = entries.get(info.path);
    const isTheSame = held !== undefined && isSame(held.entry.narInfo, info);
    // What nobody signed is in the place of what is signed now.
    if (!held || !(isTheSame || (local.signs && unsigned.has(info.path)))) continue;
    // The old signatures are over the same facts, and a key may no longer be at hand.
    const sigs = [...new Set([...info.sigs, ...(isTheSame ? held.entry.narInfo.sigs : [])])];
    pushes.set(info.path, { info: { ...info, sigs }, unlike: held.unlike });
  }
  const isSigned = (info: PathInfo): boolean =>
    local.signs || keys.length === 0 || findSigner(info, keys) !== undefined;
  const roots = valid.filter(({ path }) => missing.has(hashPartOf(path))).map(({ path }) => path);
  const closure = roots.length > 0 ? await local.queryClosure(roots, { signal }) : [];
  const lacking = closure.filter(({ path }) => !table.find(hashPartOf(path)) && !pushes.has(path));
  const { present } = await whichHave(lacking, upstreams, { signal });
  for (const info of lacking) {
    if (!present.has(hashPartOf(info.path)) && isSigned(info)) pushes.set(info.path, { info, unlike: undefined });
  }
  return [...pushes.values()];
}

const isSame = (a: PathInfo, b: PathInfo): boolean =>
  a.narHash === b.narHash && a.narSize === b.narSize && a.references.join(' ') === b.references.join(' ');

/** What upstreams have of what is lost, byte for byte when unpacked; and what is whole in a blob that is not. */
async function planFetches(
  lost: readonly (readonly [HashPart, Forms])[],
  { store, upstreams, signal }: PlanRepairOptions,
): Promise<PlannedFetch[]> {
  const fetches: PlannedFetch[] = [];
  for (const [hashPart, { newest }] of lost) {
    const entry = entryAt(newest);
    if (await isWholeInside(newest, entry, { store, signal })) {
      fetches.push({ hashPart, entry, upstream: undefined, narInfo: entry.narInfo });
      continue;
    }
    for (const upstream of upstreams) {
      const narInfo = await askUpstream(upstream, hashPart, signal);
      if (!narInfo || !isSame(narInfo, entry.narInfo) || !(await canDecompress(narInfo.compression))) continue;
      fetches.push({ hashPart, entry, upstream, narInfo });
      break;
    }
  }
  return fetches;
}

/** Whether its own bytes are right, though the blob around them is damaged. */
async function isWholeInside(
  { segment, row }: Forms['newest'],
  entry: Entry,
  options: CallOptions & { readonly store: BlobFetcher },
): Promise<boolean> {
  if (segment.faults.get(row)?.nar !== 'corrupt' || !(await canDecompress(entry.narInfo.compression))) return false;
  const fault = await checkNar(entry, narInStore(entry, options));
  return fault === undefined || fault.kind === 'listing' || fault.kind === 'pieces';
}

/** A failing upstream has nothing to give now; whether it may be relied on for a closure is asked elsewhere. */
async function askUpstream(
  upstream: Upstream,
  hashPart: HashPart,
  signal: AbortSignal | undefined,
): Promise<NarInfo | undefined> {
  try {
    return await upstream.fetchNarInfo(hashPart, { signal });
  } catch (error) {
    signal?.throwIfAborted();
    if (!isNixcacheError(error)) throw error;
    return undefined;
  }
}

/** What nothing heals, and all that refers to it, unless upstream has it. */
export async function planDrops(
  inspection: Inspection,
  lost: ReadonlyMap<HashPart, Forms>,
  healed: ReadonlySet<HashPart>,
  { upstreams, dropIncomplete, signal }: PlanRepairOptions,
): Promise<Pick<RepairPlan, 'drop' | 'blocked'>> {
  const { storeDir, table, segments } = inspection;
  const drop = new Map<HashPart, PlannedDrop>();
  const names = new Map<HashPart, StorePath>();
  for (const [hashPart, { newest }] of lost) {
    if (healed.has(hashPart)) continue;
    const { path } = entryAt(newest).narInfo;
    names.set(hashPart, path);
    drop.set(hashPart, { path, reason: 'its bytes are lost' });
  }
  const seeds = [...drop.keys()];
  if (dropIncomplete) {
    for (const [hashPart, name] of inspection.missing) {
      if (healed.has(hashPart)) continue;
      names.set(hashPart, toStorePath(name, storeDir));
      seeds.push(hashPart);
    }
  }
  if (seeds.length === 0) return { drop, blocked: undefined };
  const pathOf = (hashPart: HashPart): StorePath => {
    const known = names.get(hashPart);
    if (known) return known;
    const found = table.find(hashPart);
    const segment = found && segments[found.segment];
    if (!segment) throw new Error(`${hashPart} is not in the cache`);
    const { path } = segment.parts.entryAt(found.row).narInfo;
    names.set(hashPart, path);
    return path;
  };
  let blocked: string | undefined;
  const dependents = await dependentsOf(inspection, seeds, async (hashParts) => {
    const asked = hashParts.map((hashPart) => ({ path: pathOf(hashPart) }));
    const { present, unknown } = await whichHave(asked, upstreams, { signal });
    const [failure] = unknown.values();
    if (failure) blocked ??= `it is not known what upstream has: ${messageOf(failure)}`;
    return new Set([...present.keys()]);
  });
  for (const [hashPart, why] of dependents) {
    drop.set(hashPart, { path: pathOf(hashPart), reason: `it refers to ${pathOf(why)}` });
  }
  return { drop, blocked };
}
