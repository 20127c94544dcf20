/** Frees what is due: deletes manifests, and on a layout sweeps the files that nothing reaches any more. */

import pLimit from 'p-limit';
import { decodeCacheIndex } from '../cache/read/entry-point.ts';
import { refreshCacheIndex } from '../cache/write/cache-index.ts';
import { tagOf } from '../cache-index/checkpoint.ts';
import { CACHE_INDEX_TAG, parseTag, recordTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import { type ContentStore, canSweep, type SweepResult } from '../oci/content-store.ts';
import type { Digest } from '../oci/digest.ts';
import { deleteWatched } from './batches.ts';
import type { DeletionReport, FailedDeletion, ManifestDeleter, UnneededManifest } from './deleter.ts';
import { planDeletions, type WaitingDeletion } from './deletions.ts';
import type { OnGcEvent } from './events.ts';
import type { WrittenCheckpoint } from './execute.ts';
import type { GcPlan } from './plan.ts';
import type { Survey } from './survey.ts';
import { Survivors } from './survivors.ts';

export interface FreeOptions extends CallOptions {
  readonly store: ContentStore;
  readonly deleter: ManifestDeleter | undefined;
  readonly graceSeconds: number;
  readonly onEvent: OnGcEvent;
  readonly now: () => Date;
}

export interface Freed {
  /** Tags. */
  readonly deleted: readonly string[];
  readonly failed: readonly FailedDeletion[];
  readonly waiting: readonly WaitingDeletion[];
  /** Undefined where the registry frees blobs by itself. */
  readonly swept: SweepResult | undefined;
}

/** Look-ups at once. */
const CONCURRENT_RESOLVES = 16;

export async function free(
  survey: Survey,
  plan: GcPlan,
  written: WrittenCheckpoint | undefined,
  options: FreeOptions,
): Promise<Freed> {
  const { store, deleter, graceSeconds, onEvent, now, signal } = options;
  onEvent({ type: 'stage', stage: 'delete' });
  const checkpoints = new Map(survey.view.checkpoints);
  if (written) checkpoints.set(written.tag, written.config);
  const [tags, listed] = await Promise.all([store.listTags({ signal }), fetchListed(options)]);
  const { due, waiting } = planDeletions({
    ...{ tags: new Set([...tags, ...checkpoints.keys()]), listed, checkpoints, now: now().getTime(), graceSeconds },
  });
  const names = due.map(({ tag }) => tag);
  let deleted: readonly string[] = [];
  let failed: readonly FailedDeletion[] = [];
  if (names.length > 0) {
    if (names.some((tag) => listed.has(tag))) await unlist(survey, written, options);
    const unneeded = await findUnneeded(names, tags, survey, options);
    const report = deleter
      ? await deleteRecordsLast(names, unneeded.manifests, (list, before) =>
          deleteWatched(list, deleter, {
            ...{ name: store.name, openSurvivors: () => new Survivors(store, survey.census, plan), signal },
            onProgress: (done) => onEvent({ type: 'deleted', done: before + done, total: unneeded.manifests.length }),
          }),
        )
      : { deleted: [], failed: unneeded.manifests.map(({ tag }) => ({ tag, error: cannotDelete(store.name) })) };
    deleted = report.deleted;
    failed = [...unneeded.spared, ...report.failed];
  }
  if (!canSweep(store)) return { deleted, failed, waiting, swept: undefined };
  onEvent({ type: 'stage', stage: 'sweep' });
  return { deleted, failed, waiting, swept: await store.sweep({ graceSeconds, signal }) };
}

/**
 * A checkpoint's record only once the checkpoint is gone: the record alone names the config. Were it deleted and the
 * checkpoint not, the registry would collect the config, and no writer could read the cache any more. A record that is
 * left over goes with the next gc.
 */
async function deleteRecordsLast(
  due: readonly string[],
  manifests: readonly UnneededManifest[],
  remove: (list: readonly UnneededManifest[], before: number) => Promise<DeletionReport>,
): Promise<DeletionReport> {
  const checkpoints = due.filter((tag) => parseTag(tag)?.kind === 'checkpoint');
  const checkpointOf = new Map(checkpoints.map((tag) => [recordTag(tag), tag]));
  const first = await remove(
    manifests.filter(({ tag }) => !checkpointOf.has(tag)),
    0,
  );
  const gone = new Set(first.deleted);
  const records = manifests.filter(({ tag }) => gone.has(checkpointOf.get(tag) ?? ''));
  if (records.length === 0) return first;
  const second = await remove(records, manifests.length - records.length);
  return { deleted: [...first.deleted, ...second.deleted], failed: [...first.failed, ...second.failed] };
}

const cannotDelete = (name: string): NixcacheError =>
  new NixcacheError('ERR_UNSUPPORTED', `nixcache has no way to delete manifests from ${name}`);

async function fetchListed({ store, signal }: FreeOptions): Promise<Set<string>> {
  const manifest = await store.fetchManifest(CACHE_INDEX_TAG, { signal });
  return new Set((manifest ? decodeCacheIndex(manifest, store.name).manifests : []).flatMap((d) => tagOf(d) ?? []));
}

/** Some registries do not delete what an index names. */
async function unlist(survey: Survey, written: WrittenCheckpoint | undefined, options: FreeOptions): Promise<void> {
  const { store, now, signal } = options;
  await refreshCacheIndex(store, {
    view: survey.view,
    added: [],
    replaced: written?.config.replaces ?? [],
    publicKeys: [],
    now: now(),
    signal,
  });
}

/**
 * The digests of `names`, looked up now. A manifest that also has a tag which is not to be deleted is spared: deleting
 * a manifest removes all its tags, and somebody may have given it one of their own.
 */
async function findUnneeded(
  names: readonly string[],
  tags: readonly string[],
  survey: Survey,
  { store, signal }: FreeOptions,
): Promise<{ readonly manifests: readonly UnneededManifest[]; readonly spared: readonly FailedDeletion[] }> {
  const limit = pLimit(CONCURRENT_RESOLVES);
  const resolve = (tag: string): Promise<Digest | undefined> =>
    limit(async () => (await store.resolve(tag, { signal }))?.digest);
  const planned = new Set(names);
  const kept = new Map<Digest, string>();
  for (const [tag, { digest }] of survey.descriptors) if (!planned.has(tag)) kept.set(digest, tag);
  // `cache-index`, foreign tags and live ones of ours; replaced ones that wait are never on a manifest with another.
  const records = new Set(survey.view.live.checkpoints.map(recordTag));
  const isWatched = (tag: string): boolean =>
    parseTag(tag)?.kind === 'record' ? records.has(tag) : !survey.view.live.replaced.has(tag);
  const others = tags.filter((tag) => !planned.has(tag) && !survey.descriptors.has(tag) && isWatched(tag));
  await Promise.all(
    others.map(async (tag) => {
      const digest = await resolve(tag);
      if (digest) kept.set(digest, tag);
    }),
  );
  const manifests: UnneededManifest[] = [];
  const spared: FailedDeletion[] = [];
  for (const [i, digest] of (await Promise.all(names.map(resolve))).entries()) {
    const tag = names[i] ?? '';
    const other = digest && kept.get(digest);
    if (other !== undefined) spared.push({ tag, error: taggedTwice(tag, other) });
    else if (digest) manifests.push({ tag, digest });
  }
  return { manifests, spared };
}

const taggedTwice = (tag: string, other: string): NixcacheError =>
  new NixcacheError('ERR_REGISTRY', `${tag} is on the same manifest as the tag ${other}, which would go with it`);
