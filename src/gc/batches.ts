/**
 * Deletes batch by batch where nobody promises that blobs stay which a deleted manifest shares with a kept one, as on GHCR:
 * before and after each batch it looks for some of those that are needed. The first one missing ends it.
 */
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { DeletionOptions, DeletionReport, FailedDeletion, ManifestDeleter, UnneededManifest } from './deleter.ts';
import type { Survivors } from './survivors.ts';

export interface BatchOptions extends DeletionOptions {
  /** The cache, for messages. */
  readonly name: string;
  /** Made only if there is something to watch. */
  readonly openSurvivors: () => Survivors;
}

/** @throws {NixcacheError} ERR_INDEX when a blob that is needed is not there: going on could destroy the cache */
export async function deleteWatched(
  list: readonly UnneededManifest[],
  deleter: ManifestDeleter,
  { name, openSurvivors, signal, onProgress }: BatchOptions,
): Promise<DeletionReport> {
  const { batchSize } = deleter;
  if (batchSize === undefined) return deleter.deleteManifests(list, { signal, onProgress });
  const survivors = openSurvivors();
  const deleted: string[] = [];
  const failed: FailedDeletion[] = [];
  for (let at = 0; at < list.length; at += batchSize) {
    const batch = list.slice(at, at + batchSize);
    const watched = await survivors.sample(batch, { signal });
    const look = (options: CallOptions): Promise<Descriptor | undefined> => survivors.findMissing(watched, options);
    const before = await look({ signal });
    if (before) throw missing(before, name, deleted, deleter);
    const report = await deleter.deleteManifests(batch, { signal, onProgress: (done) => onProgress?.(at + done) });
    for (const tag of report.deleted) deleted.push(tag);
    for (const failure of report.failed) failed.push(failure);
    const after = report.deleted.length > 0 ? await look({ signal }) : undefined;
    if (after) throw missing(after, name, deleted, deleter);
    const { stopped } = report;
    if (!stopped) continue;
    for (const { tag } of list.slice(at + batchSize)) failed.push({ tag, error: stopped });
    break;
  }
  return { deleted, failed };
}

function missing(
  { digest }: Descriptor,
  name: string,
  deleted: readonly string[],
  deleter: ManifestDeleter,
): NixcacheError {
  if (deleted.length === 0) {
    return new NixcacheError(
      'ERR_INDEX',
      `${name} is damaged: blob ${digest}, which kept paths need, is gone; gc freed nothing, since more might go with it; run nixcache verify --repair`,
    );
  }
  const advice = deleter.restoreAdvice?.(deleted);
  return new NixcacheError(
    'ERR_INDEX',
    `gc stopped deleting: blob ${digest}, which kept paths of ${name} need, is gone after ${deleted.length} manifests ` +
      `were deleted; run gc no more, restore what was deleted${advice === undefined ? '' : ` (${advice})`}, then run nixcache verify`,
  );
}
