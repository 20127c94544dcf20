/**
 * Carries a plan out: new packs, then segments under their own tags, then the checkpoint, whose PUT alone makes the
 * segments it replaces dead. Killed before it, the cache has some entries twice; after it, once.
 *
 * Why others may write meanwhile:
 *
 * - Segments that appear after the plan was made are not in what it replaces: they stay live. The checkpoint is announced,
 *   by its record, before gc looks for them. If one of them needs something that is about to be dropped, the checkpoint is
 *   not written and gc starts over; who commits after that look has seen the announcement, or sees it, or the checkpoint,
 *   when it looks again behind its commit. gc looks again as well.
 * - Two gcs at once replace the same segments by two sets of outputs: duplicates, which the next gc removes. What one
 *   dropped and the other kept stays.
 * - Outputs carry the time of the newest segment they stand for, not today's: a segment committed meanwhile is newer,
 *   and its form of an entry is the one that readers see.
 * - Outputs sort behind all that they replace, and of several copies only the last stays. So the last copy of a path is
 *   replaced by none but who drops the path. Were that left to chance, one gc might take another's output for the
 *   copy to drop, whose input the other replaces.
 */

import pLimit from 'p-limit';
import type { IndexReader } from '../cache/read/index-reader.ts';
import { updateCacheIndex } from '../cache/write/cache-index.ts';
import { CacheWriter, type CommittedSegment } from '../cache/write/cache-writer.ts';
import { announceCheckpoint, commitCheckpoint } from '../cache/write/commit.ts';
import { carried } from '../cache/write/incoming.ts';
import {
  type CheckpointConfig,
  decodeCheckpointConfig,
  encodeCheckpoint,
  MAX_LISTED,
} from '../cache-index/checkpoint.ts';
import type { Entry } from '../cache-index/entry.ts';
import { byTime } from '../cache-index/live-set.ts';
import { parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { findConflict } from './conflict.ts';
import type { OnGcEvent } from './events.ts';
import { keepNeeded } from './look-again.ts';
import { DEFAULT_LOOKUP_FROM_ENTRIES, lookupOf } from './lookup.ts';
import { type PlannedSegment, pieceKey } from './partition.ts';
import type { GcPlan, PlannedCheckpoint } from './plan.ts';
import { type MovedTo, writePack } from './repack.ts';
import { entryOf, type Survey } from './survey.ts';

export interface ExecuteOptions extends CallOptions {
  readonly store: ContentStore;
  readonly reader: IndexReader;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  /** Recorded for publishers. */
  readonly retainSeconds: number;
  /** Entries from which on the checkpoint carries a look-up table. */
  readonly lookupFromEntries?: number | undefined;
  readonly onEvent: OnGcEvent;
  readonly now: () => Date;
}

export interface WrittenCheckpoint {
  readonly tag: string;
  readonly config: CheckpointConfig;
  readonly outputs: readonly string[];
}

/** Each holds a segment in memory, about a megabyte. */
const CONCURRENT_COMMITS = 4;
/** What was written; undefined when a segment appeared that needs what was to be dropped: then nothing is dropped. */
export async function executePlan(
  plan: GcPlan,
  checkpoint: PlannedCheckpoint,
  survey: Survey,
  options: ExecuteOptions,
): Promise<WrittenCheckpoint | undefined> {
  const { store, now, onEvent, signal } = options;
  const packs = await writePacks(plan, survey, options);
  const limit = pLimit(CONCURRENT_COMMITS);
  const outcomes = await Promise.allSettled(
    plan.outputs.map((output) => limit(() => writeSegment(output, plan, packs, survey, options))),
  );
  const outputs: Descriptor[] = [];
  const tags: string[] = [];
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') throw outcome.reason;
    outputs.push(outcome.value.descriptor);
    tags.push(outcome.value.tag);
  }
  const kept = plan.untouched.flatMap((tag) => survey.descriptors.get(tag) ?? []);
  const written = plan.outputs.map(({ rows }, i) => ({ tag: tags[i] ?? '', rows }));
  const fromEntries = options.lookupFromEntries ?? DEFAULT_LOOKUP_FROM_ENTRIES;
  const encoded = encodeCheckpoint({
    ...checkpoint,
    lookup: lookupOf({ untouched: plan.untouched, written, fromEntries }, survey),
    segments: [...kept, ...outputs].slice(-MAX_LISTED),
    creator: options.creator,
    sourceUrl: options.sourceUrl,
    retainSeconds: options.retainSeconds,
    now: now(),
  });
  await announceCheckpoint(store, encoded, { signal });
  const conflict = await findConflict(plan, survey, { ...options, written: tags });
  if (conflict !== undefined) {
    onEvent({ type: 'warning', message: `${conflict}: starting over` });
    return undefined;
  }
  await commitCheckpoint(store, encoded, { signal });
  onEvent({ type: 'checkpoint-written', tag: encoded.tag });
  const update = {
    ...{ view: survey.view, added: [...kept, ...outputs], replaced: checkpoint.replaces },
    ...{ publicKeys: checkpoint.publicKeys, sourceUrl: options.sourceUrl, now: now(), signal },
  };
  await updateCacheIndex(store, update, (message) => onEvent({ type: 'warning', message }));
  await keepNeeded(plan, [...survey.view.tags, ...tags], options);
  const config = decodeCheckpointConfig(encoded.config.bytes, encoded.tag);
  return { tag: encoded.tag, config, outputs: tags };
}

/** New packs, one after another; where each moved piece lies, by its key. */
async function writePacks(
  plan: GcPlan,
  survey: Survey,
  { store, onEvent, signal }: ExecuteOptions,
): Promise<Map<string, MovedTo>> {
  const packs = new Map<string, MovedTo>();
  const old = packsByDigest(survey);
  for (const planned of plan.packs) {
    const places = await writePack(planned, {
      store,
      entryAt: (row) => entryOf(row, survey),
      packOf: (digest) => old.get(digest),
      signal,
    });
    for (const [i, { row, kind }] of planned.pieces.entries()) {
      const place = places[i];
      if (place) packs.set(pieceKey(row, kind), place);
    }
    onEvent({ type: 'pack-written', bytes: planned.bytes });
  }
  return packs;
}

async function writeSegment(
  output: PlannedSegment,
  plan: GcPlan,
  packs: ReadonlyMap<string, MovedTo>,
  survey: Survey,
  { store, creator, sourceUrl, onEvent, signal }: ExecuteOptions,
): Promise<CommittedSegment> {
  const { census, storeDir } = survey;
  const behind = plan.rewritten
    .map(({ tag }) => tag)
    .sort(byTime)
    .at(-1);
  const time = new Date(parseTag(behind ?? '')?.time ?? 0); // nothing is written but in place of something
  const writer = new CacheWriter({ store, storeDir, creator, sourceUrl, behind, signal, now: () => time });
  for (const row of output.rows) {
    const { narInfo, nar, listing, leftOut, pieces, realisations } = entryOf(row, survey);
    const sigs = plan.sigs.get(row) ?? narInfo.sigs;
    const blobs: Descriptor[] = [];
    for (const { blob, kind } of census.extentsOf(row)) {
      if (!packs.has(pieceKey(row, kind))) blobs.push(census.blob(blob));
    }
    const moved = { nar: packs.get(pieceKey(row, 'nar')), listing: packs.get(pieceKey(row, 'listing')) };
    const entry: Entry = {
      ...{ narInfo: { ...narInfo, sigs }, nar: moved.nar?.extents ?? nar, leftOut, asserted: census.assertedOf(row) },
      ...(listing && { listing: { digest: listing.digest, extents: moved.listing?.extents ?? listing.extents } }),
      ...(pieces && { pieces }),
      ...(realisations && { realisations }),
    };
    blobs.push(...(moved.nar?.blobs ?? []), ...(moved.listing?.blobs ?? []));
    await writer.add(carried({ entry, blobs }));
  }
  await writer.finish();
  const [segment, more] = writer.segments;
  if (!segment || more) throw new Error(`${output.rows.length} planned rows did not make one segment`);
  onEvent({ type: 'segment-written', tag: segment.tag, entries: segment.entries });
  return segment;
}

function packsByDigest({ census }: Survey): Map<Digest, Descriptor> {
  const numbers = new Set(census.segments.flatMap(({ packs }) => packs));
  return new Map([...numbers].map((number) => census.blob(number)).map((pack) => [pack.digest, pack]));
}
