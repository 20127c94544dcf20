/**
 * Heals what can be healed, in this order: tags that are gone, NARs from the local store, NARs from upstreams and damaged
 * packs, then the segments themselves without what nothing heals, then `cache-index`. Each step leaves a whole cache that
 * is no worse than before.
 */

import { DiskSpool } from '../cache/disk/spool.ts';
import { replaceCacheIndex } from '../cache/write/cache-index.ts';
import { CacheWriter } from '../cache/write/cache-writer.ts';
import { commitManifest } from '../cache/write/commit.ts';
import { recordTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf } from '../nix/store-path.ts';
import { type ContentStore, canDelete } from '../oci/content-store.ts';
import type { OnVerifyEvent } from './events.ts';
import type { Inspection } from './inspect.ts';
import type { LocalSource } from './local-source.ts';
import { lostForms } from './needs.ts';
import { type PlannedDrop, type PlanRepairOptions, planDrops, planRepair, type RepairPlan } from './plan.ts';
import { restore } from './restore.ts';
import { rewrite, timeOf } from './rewrite.ts';

export interface RepairOptions extends PlanRepairOptions, CallOptions {
  readonly store: ContentStore;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  /** Looks at the cache afresh. */
  readonly inspect: () => Promise<Inspection>;
  readonly onEvent: OnVerifyEvent;
  readonly now: () => Date;
}

export interface RepairOutcome {
  /** Store paths. */
  readonly pushed: readonly string[];
  readonly restored: readonly string[];
  readonly dropped: readonly PlannedDrop[];
  readonly checkpoint: string | undefined;
  readonly failed: readonly { readonly path: string; readonly reason: string }[];
  /** Why nothing was dropped, though something is lost. */
  readonly blocked: string | undefined;
}

/** What publishes while we repair makes us look again; more than a few in a row are another matter. */
const MAX_ATTEMPTS = 3;

/** @throws {NixcacheError} the registry's errors; ERR_INDEX when too much is published meanwhile */
export async function repair(first: Inspection, plan: RepairPlan, options: RepairOptions): Promise<RepairOutcome> {
  const { store, local, onEvent, inspect } = options;
  onEvent({ type: 'stage', stage: 'repair' });
  await retag(first, plan, options);
  const failed = new Map<string, string>();
  const pushed = local ? await pushAll(plan, local, failed, options) : [];
  let inspection = pushed.length > 0 ? await inspect() : first;
  try {
    for (let attempt = 1; ; attempt++) {
      // The local store has given what it has: planned anew without it.
      const rest =
        inspection === first && plan.push.length === 0
          ? plan
          : await planRepair(inspection, { ...options, local: undefined });
      const done = await write(rest, inspection, failed, options);
      if (done) {
        const reasons = [...failed].map(([path, reason]) => ({ path, reason }));
        return { pushed, ...done, failed: reasons };
      }
      if (attempt === MAX_ATTEMPTS) throw tooBusy(store.name);
      onEvent({ type: 'warning', message: `${store.name} changed meanwhile: looking again` });
      if (inspection !== first) inspection.close();
      inspection = await inspect();
    }
  } finally {
    if (inspection !== first) inspection.close();
  }
}

/** Undefined when the cache changed under it. */
async function write(
  plan: RepairPlan,
  inspection: Inspection,
  failed: Map<string, string>,
  options: RepairOptions,
): Promise<Omit<RepairOutcome, 'pushed' | 'failed'> | undefined> {
  const { store, onEvent, signal, now } = options;
  const { blocked } = plan;
  const nothing = { restored: [], dropped: [], checkpoint: undefined, blocked };
  if (blocked !== undefined) return nothing;
  await using spool = new DiskSpool(store);
  let rewritten = plan.rewrite;
  await using writer = new CacheWriter({
    ...{ store, spool, isSalted: true, storeDir: inspection.storeDir, creator: options.creator },
    ...{ sourceUrl: options.sourceUrl, signal, now: () => timeOf(rewritten) },
  });
  const { entries, failed: lost } = await restore(plan.fetch, { store, writer, spool, onEvent, signal });
  for (const { hashPart, entry } of plan.fetch) {
    const reason = lost.get(hashPart);
    if (reason !== undefined) failed.set(entry.narInfo.path, reason);
  }
  const drops = lost.size > 0 ? await dropMore(plan, inspection, new Set(entries.keys()), options) : plan;
  rewritten = drops.rewrite;
  if (drops.blocked !== undefined) return { ...nothing, blocked: drops.blocked };
  const written = await rewrite(drops, inspection, { ...options, writer, restored: entries });
  if (!written) return undefined;
  if (plan.cacheIndex) {
    const { publicKeys } = inspection;
    const { sourceUrl } = options;
    await replaceCacheIndex(store, { segments: written.live, publicKeys, sourceUrl, now: now(), signal });
    onEvent({ type: 'repaired', message: 'wrote cache-index anew' });
  }
  await removeUnreadable(drops, inspection, options);
  const dropped = [...drops.drop.values()];
  for (const { path, reason } of dropped) onEvent({ type: 'repaired', message: `dropped ${path}: ${reason}` });
  const restored = [...entries.values()].map(({ narInfo }) => narInfo.path);
  return { restored, dropped, checkpoint: written.checkpoint, blocked: undefined };
}

/** The plan, after some of what was to be fetched could not be. */
async function dropMore(
  plan: RepairPlan,
  inspection: Inspection,
  healed: ReadonlySet<HashPart>,
  options: RepairOptions,
): Promise<RepairPlan> {
  const { drop, blocked } = await planDrops(inspection, lostForms(inspection), healed, options);
  const dead = new Set(plan.rewrite);
  for (const segment of inspection.segments) {
    for (const { entry } of segment.entries()) if (drop.has(hashPartOf(entry.narInfo.path))) dead.add(segment.tag);
  }
  return { ...plan, drop, blocked, rewrite: [...dead] };
}

/** A manifest without a tag is taken by the registry sooner or later. */
async function retag({ segments }: Inspection, plan: RepairPlan, options: RepairOptions): Promise<void> {
  const { store, onEvent, signal } = options;
  const retag = new Set(plan.retag);
  for (const { tag, parts } of segments) {
    if (!parts.manifest || !retag.has(tag)) continue;
    try {
      await commitManifest(store, tag, parts.manifest, { signal });
      onEvent({ type: 'repaired', message: `tagged ${tag} again` });
    } catch (error) {
      if (!isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw error;
      onEvent({ type: 'warning', message: `${tag} cannot be tagged again as it is: ${messageOf(error)}` });
    }
  }
}

async function pushAll(
  { push }: RepairPlan,
  local: LocalSource,
  failed: Map<string, string>,
  { onEvent, signal }: RepairOptions,
): Promise<string[]> {
  const groups = Map.groupBy(push, ({ unlike }) => unlike);
  const pushed: string[] = [];
  for (const [unlike, group] of groups) {
    const infos = group.map(({ info }) => info);
    const failures: ReadonlyMap<BaseName, string> = await local.push({ infos, unlike, signal });
    for (const { path } of infos) {
      const reason = failures.get(baseNameOf(path));
      if (reason !== undefined) failed.set(path, reason);
      else {
        pushed.push(path);
        onEvent({ type: 'repaired', message: `pushed ${path} from the local Nix store` });
      }
    }
  }
  return pushed;
}

/**
 * Deletes the manifests of what was replaced and cannot be read: nobody relies on those, and they would keep writers from
 * reading the cache and a sweep from freeing it.
 */
async function removeUnreadable(plan: RepairPlan, inspection: Inspection, options: RepairOptions): Promise<void> {
  const { store, onEvent, signal } = options;
  const dead = new Set(plan.rewrite);
  const unread = inspection.segments.filter(({ tag, parts }) => dead.has(tag) && !parts.manifest);
  const checkpoints = [...plan.replaceCheckpoints, ...plan.removeCheckpoints];
  const tags = [...unread.map(({ tag }) => tag), ...checkpoints, ...checkpoints.map(recordTag)];
  for (const tag of tags.filter((each) => inspection.scan.tags.has(each))) {
    try {
      const descriptor = await store.resolve(tag, { signal });
      if (!descriptor) continue;
      if (!canDelete(store)) throw new NixcacheError('ERR_UNSUPPORTED', `${store.name} cannot delete manifests`);
      await store.deleteManifest(descriptor.digest, { signal });
      onEvent({ type: 'repaired', message: `removed the unreadable ${tag}` });
    } catch (error) {
      signal?.throwIfAborted();
      if (!isNixcacheError(error)) throw error;
      onEvent({ type: 'warning', message: `${tag} could not be removed: ${messageOf(error)}` });
    }
  }
}

const tooBusy = (name: string): NixcacheError =>
  new NixcacheError(
    'ERR_INDEX',
    `nothing was dropped: ${MAX_ATTEMPTS} times something was published to ${name} meanwhile; run verify --repair again when less is going on`,
  );
