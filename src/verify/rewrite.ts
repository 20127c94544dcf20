/**
 * Writes damaged segments anew, without what nothing heals, and makes the old ones dead by a checkpoint: as gc does it, and
 * as safe while others publish. Until the checkpoint's PUT the cache is as it was.
 */

import type { CacheWriter, CommittedSegment } from '../cache/write/cache-writer.ts';
import { announceCheckpoint, commitCheckpoint } from '../cache/write/commit.ts';
import { carried, type PendingEntry } from '../cache/write/incoming.ts';
import { encodeCheckpoint, MAX_LISTED } from '../cache-index/checkpoint.ts';
import { type Entry, extentsOf, narUrl } from '../cache-index/entry.ts';
import { byTime } from '../cache-index/live-set.ts';
import { NAR, PACK, PART } from '../cache-index/media-types.ts';
import { mergePins, mergeRoots } from '../cache-index/records.ts';
import { parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { descriptorsOf, type Inspection } from './inspect.ts';
import { entryAt, type Forms, formsOf, type RowPlace } from './needs.ts';
import type { RepairPlan } from './plan.ts';

export interface RewriteOptions extends CallOptions {
  readonly store: ContentStore;
  /** Its clock gives the `timeOf` what is rewritten. */
  readonly writer: CacheWriter;
  readonly restored: ReadonlyMap<HashPart, PendingEntry>;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  readonly now: () => Date;
}

export interface Rewritten {
  /** The checkpoint's tag; undefined when there was nothing to replace. */
  readonly checkpoint: string | undefined;
  /** Every segment that is live now, as `cache-index` lists it. */
  readonly live: ReadonlyMap<string, Descriptor>;
}

/** Undefined when the cache changed meanwhile: then nothing was replaced, and it has to be looked at again. */
export async function rewrite(
  plan: RepairPlan,
  inspection: Inspection,
  options: RewriteOptions,
): Promise<Rewritten | undefined> {
  const { store, signal, now } = options;
  const { scan, segments } = inspection;
  const dead = new Set(plan.rewrite);
  const live = new Map([...descriptorsOf(segments)].filter(([tag]) => !dead.has(tag)));
  const checkpoints = [...plan.replaceCheckpoints, ...plan.removeCheckpoints];
  if (dead.size + checkpoints.length === 0) return { checkpoint: undefined, live };

  const outputs = new Map(
    (await writeSegments(plan, inspection, options)).map(({ tag, descriptor }) => [tag, descriptor]),
  );
  for (const [tag, descriptor] of outputs) live.set(tag, descriptor);
  const tags = new Set(await store.listTags({ signal }));
  const retagged = new Set(plan.retag);
  const known = (tag: string): boolean => scan.tags.has(tag) || outputs.has(tag) || retagged.has(tag);
  const isOther = [...tags].some((tag) => !known(tag) && parseTag(tag)) || [...scan.tags].some((tag) => !tags.has(tag));
  if (isOther) return undefined;

  const replaced = segments.filter(({ tag }) => dead.has(tag));
  const carried = plan.replaceCheckpoints.flatMap((tag) => scan.checkpoints.get(tag) ?? []);
  const sources = [...replaced.flatMap(({ parts }) => parts.config ?? []), ...carried];
  const isKept = ({ path }: { readonly path?: Parameters<typeof hashPartOf>[0] | undefined }): boolean =>
    path === undefined || !plan.drop.has(hashPartOf(path));
  const retentions = carried.flatMap(({ retainSeconds }) => retainSeconds ?? []);
  const encoded = encodeCheckpoint({
    replaces: [...new Set([...dead, ...checkpoints, ...carried.flatMap(({ replaces }) => replaces)])],
    segments: [...live]
      .sort(([a], [b]) => byTime(a, b))
      .map(([, descriptor]) => descriptor)
      .slice(-MAX_LISTED),
    roots: mergeRoots(sources.map(({ roots }) => roots)).filter(isKept),
    pins: mergePins(sources.map(({ pins }) => pins)).filter(isKept),
    publicKeys: [...new Set(sources.flatMap(({ publicKeys }) => publicKeys))].sort(),
    removed: [...new Set([...plan.drop.keys(), ...carried.flatMap(({ removed = [] }) => removed)])],
    retainSeconds: retentions.length > 0 ? Math.min(...retentions) : undefined,
    creator: options.creator,
    sourceUrl: options.sourceUrl,
    now: now(),
  });
  await announceCheckpoint(store, encoded, { signal });
  await commitCheckpoint(store, encoded, { signal });
  return { checkpoint: encoded.tag, live };
}

/**
 * When the segments that stand in for `tags` were written. Not now: what is committed meanwhile is newer, and its form of an
 * entry is the one that readers see.
 */
export const timeOf = (tags: readonly string[]): Date =>
  new Date(tags.reduce((newest, tag) => Math.max(newest, parseTag(tag)?.time ?? 0), 0));

/** What of the segments stays, in order of hash parts; each path in its newest form that is whole. */
async function writeSegments(
  plan: RepairPlan,
  inspection: Inspection,
  options: RewriteOptions,
): Promise<readonly CommittedSegment[]> {
  const { writer, restored } = options;
  const dead = new Set(plan.rewrite);
  const replaced = inspection.segments.filter(({ tag }) => dead.has(tag));
  const forms = formsOf(inspection, replaced);
  for (const [hashPart, form] of [...forms].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (plan.drop.has(hashPart)) continue;
    const pending = form.good
      ? await carriedForm({ ...form, good: form.good }, dead, inspection, options)
      : withTime(restored.get(hashPart), form.asserted);
    if (pending) await writer.add(pending);
  }
  await writer.finish();
  return writer.segments;
}

/** `pending` as of when the path was last asserted. */
const withTime = (pending: PendingEntry | undefined, asserted: number): PendingEntry | undefined =>
  pending && {
    ...pending,
    resolve: async () => {
      const { entry, blobs } = await pending.resolve();
      return { entry: { ...entry, asserted }, blobs };
    },
    again: undefined,
  };

async function carriedForm(
  { good, asserted }: Forms & { readonly good: RowPlace },
  dead: ReadonlySet<string>,
  { catalog }: Inspection,
  options: RewriteOptions,
): Promise<PendingEntry | undefined> {
  if (!dead.has(good.segment.tag)) return undefined; // it stays where it is
  const { narInfo, nar, listing, leftOut, pieces, realisations } = entryAt(good);
  const fault = good.segment.faults.get(good.row);
  const entry: Entry = {
    narInfo: { ...narInfo, url: narUrl(narInfo.fileHash, narInfo.compression) },
    nar,
    ...{ leftOut, realisations },
    ...(listing && !fault?.listing ? { listing } : {}),
    ...(pieces && !fault?.pieces ? { pieces } : {}),
    asserted,
  };
  const digests = new Set(extentsOf(entry).map(({ digest }) => digest));
  const blobs: Descriptor[] = [];
  for (const digest of digests) blobs.push(catalog.find(digest) ?? (await measure(digest, entry, options)));
  return carried({ entry, blobs });
}

/** The descriptor of a blob that no manifest at hand describes: by reading it. */
async function measure(digest: Digest, { nar }: Entry, { store, signal }: RewriteOptions): Promise<Descriptor> {
  let size = 0;
  for await (const chunk of (await store.fetchBlob({ digest }, { signal })) as AsyncIterable<Buffer>) {
    size += chunk.length;
  }
  const isWhole = nar.some((extent) => extent.digest === digest && extent.offset === 0 && extent.length === size);
  return { digest, size, mediaType: isWhole ? (nar.length > 1 ? PART : NAR) : PACK };
}
