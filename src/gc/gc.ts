/**
 * gc: read everything, plan, write the smaller cache, then free what the grace period has run out for. Nothing is dropped
 * that was not listed and understood; `execute.ts` says why others may write meanwhile.
 */

import type { IndexReader } from '../cache/read/index-reader.ts';
import { assertCache } from '../cache/read/view.ts';
import { checkpointTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import { sortPublicKeys } from '../nix/signature.ts';
import { type ContentStore, canDelete, canSweep } from '../oci/content-store.ts';
import { digestOf } from '../oci/digest.ts';
import { assertClock } from './clock.ts';
import { DistributionDeleter, type ManifestDeleter } from './deleter.ts';
import { planDeletions } from './deletions.ts';
import type { OnGcEvent } from './events.ts';
import { executePlan, type WrittenCheckpoint } from './execute.ts';
import { chooseForms } from './forms.ts';
import { free } from './free.ts';
import { restoreKept } from './look-again.ts';
import { type GcInput, type GcPlan, planGc } from './plan.ts';
import { droppedPaths, type GcOutcome, type GcReport, reportGc } from './report.ts';
import { entryOf, type Survey, surveyCache } from './survey.ts';

export interface GcOptions extends CallOptions {
  readonly store: ContentStore;
  /** Default: the store itself, where it can delete. */
  readonly deleter?: ManifestDeleter | undefined;
  /** Strict, over the same store; refreshed here. */
  readonly reader: IndexReader;
  readonly retainSeconds: number;
  /** Between a checkpoint and the deletion of what it replaces: longer than any publish takes. */
  readonly graceSeconds: number;
  readonly keepLast?: number | undefined;
  readonly dryRun: boolean;
  /** A mistyped reference must not pass as a cache with nothing to drop; else, and by default, there is nothing to do. */
  readonly mustExist?: boolean | undefined;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  /** Entries from which on the cache gets a look-up table. */
  readonly lookupFromEntries?: number | undefined;
  readonly onEvent: OnGcEvent;
  readonly now: () => Date;
}

/** An hour: below, a publish that is under way may lose what it relies on. */
const MIN_SAFE_GRACE_SECONDS = 60 * 60;
/** A publish that needs what is to be dropped makes gc start over; more than a few in a row are another matter. */
const MAX_ATTEMPTS = 3;

/**
 * @throws {NixcacheError} ERR_NOT_FOUND when there is no cache that must exist, ERR_INDEX when something cannot be read, both before anything
 *   was written; the registry's errors
 */
export async function runGc(options: GcOptions): Promise<GcReport> {
  const { store, graceSeconds, dryRun, onEvent, signal, now } = options;
  if (graceSeconds < MIN_SAFE_GRACE_SECONDS) {
    onEvent({
      type: 'warning',
      message: `a grace period of ${graceSeconds} s is safe only while nothing else writes to ${store.name}`,
    });
  }
  for (let attempt = 1; ; attempt++) {
    onEvent({ type: 'stage', stage: 'read' });
    const survey = await surveyCache(options);
    if (options.mustExist) assertCache(survey.view, store.name);
    assertClock(now(), survey.view, store.name);
    onEvent({ type: 'stage', stage: 'plan' });
    const plan = planGc(inputOf(survey, options));
    const paths = droppedPaths(plan, survey);
    if (dryRun) return reportGc(plan, paths, await foresee(survey, plan, options));
    if (await restoreKept(plan, survey, options)) {
      // Counted anew, with what is listed again.
      if (attempt === MAX_ATTEMPTS) throw tooBusy(store.name);
      continue;
    }
    let written: WrittenCheckpoint | undefined;
    if (plan.checkpoint) {
      onEvent({ type: 'stage', stage: 'write' });
      written = await executePlan(plan, plan.checkpoint, survey, options);
      if (!written && attempt < MAX_ATTEMPTS) continue;
      if (!written) throw tooBusy(store.name);
    }
    const deleter = options.deleter ?? (canDelete(store) ? new DistributionDeleter(store) : undefined);
    const freed = await free(survey, plan, written, { store, deleter, graceSeconds, onEvent, now, signal });
    return reportGc(plan, paths, { ...freed, dryRun, written });
  }
}

const inputOf = (survey: Survey, { store, now, retainSeconds, keepLast }: GcOptions): GcInput => {
  const { view, census, records } = survey;
  return {
    census,
    records,
    forms: chooseForms(census, (row) => entryOf(row, survey), sortPublicKeys(namedKeys(survey)).keys),
    checkpoints: view.checkpoints,
    liveCheckpoints: view.live.checkpoints,
    replaced: view.live.replaced,
    tags: view.tags,
    listed: new Set(view.descriptors.keys()),
    policy: { now: now().getTime() / 1000, retainSeconds, keepLast },
    maxLayers: store.maxLayers,
  };
};

/** The texts of all keys that are named anywhere in the cache. */
const namedKeys = ({ view, records }: Survey): ReadonlySet<string> =>
  new Set([...records.values(), ...view.checkpoints.values(), view].flatMap(({ publicKeys }) => publicKeys));

/** What would be deleted now, and later, once the planned checkpoint were written. */
async function foresee(survey: Survey, plan: GcPlan, options: GcOptions): Promise<GcOutcome> {
  const { store, graceSeconds, now, signal } = options;
  const { view } = survey;
  const checkpoints = new Map<string, { readonly replaces: readonly string[] }>(view.checkpoints);
  if (plan.checkpoint) checkpoints.set(checkpointTag(digestOf(Buffer.alloc(0)), now()), plan.checkpoint);
  const { due, waiting } = planDeletions({
    ...{ tags: view.tags, listed: new Set(view.descriptors.keys()), checkpoints, graceSeconds },
    now: now().getTime(),
  });
  const swept = canSweep(store) ? await store.sweep({ graceSeconds, dryRun: true, signal }) : undefined;
  return { dryRun: true, written: undefined, deleted: due, failed: [], waiting, swept };
}

const tooBusy = (name: string): NixcacheError =>
  new NixcacheError(
    'ERR_INDEX',
    `gc dropped nothing: ${MAX_ATTEMPTS} times something was published to ${name} that needs what was to be dropped; run gc again when less is going on`,
  );
