/** What a gc did, or would do; what the CLI prints, also as JSON. */
import type { Pin, Root } from '../cache-index/records.ts';
import type { KeptRoot } from '../census/retention.ts';
import type { StorePath } from '../nix/store-path.ts';
import type { SweepResult } from '../oci/content-store.ts';
import type { FailedDeletion } from './deleter.ts';
import type { DueDeletion, WaitingDeletion } from './deletions.ts';
import type { WrittenCheckpoint } from './execute.ts';
import type { GcPlan, RewriteReason } from './plan.ts';
import type { Survey } from './survey.ts';

export interface GcReport {
  readonly dryRun: boolean;
  /** Bytes are those of compressed NARs, here and below. */
  readonly kept: { readonly entries: number; readonly bytes: number };
  readonly dropped: { readonly entries: number; readonly bytes: number; readonly paths: readonly DroppedPath[] };
  /** Root records; of expired ones, what only they need is dropped. */
  readonly roots: { readonly kept: readonly Root[]; readonly expired: readonly Root[] };
  /** Pins in force and kept roots, each with the reason why it and all it refers to stays. */
  readonly keptBecause: readonly KeptRoot[];
  /** All records, the history of names too. */
  readonly pins: readonly Pin[];
  readonly segments: {
    readonly untouched: number;
    readonly rewritten: readonly { readonly tag: string; readonly why: RewriteReason }[];
    readonly written: number;
  };
  readonly packs: { readonly rewritten: number; readonly written: number; readonly bytes: number };
  /** Undefined when there was nothing to drop and nothing to compact, and after a dry run. */
  readonly checkpoint: string | undefined;
  /** Manifests deleted; in a dry run, those that are due. */
  readonly deletedManifests: number;
  /** Undefined where the registry frees blobs by itself. */
  readonly freed: SweepResult | undefined;
  readonly notFreed: readonly NotFreed[];
  readonly waiting: { readonly manifests: number; readonly until: Date | undefined };
}

export interface DroppedPath {
  readonly path: StorePath;
  readonly bytes: number;
  readonly lastPushed: Date;
}

/** Manifests that could not be deleted, by the reason. */
interface NotFreed {
  readonly reason: string;
  readonly tags: readonly string[];
}

export interface GcOutcome {
  readonly dryRun: boolean;
  readonly written: WrittenCheckpoint | undefined;
  readonly deleted: readonly (string | DueDeletion)[];
  readonly failed: readonly FailedDeletion[];
  readonly waiting: readonly WaitingDeletion[];
  readonly swept: SweepResult | undefined;
}

export function reportGc(plan: GcPlan, paths: readonly DroppedPath[], outcome: GcOutcome): GcReport {
  const { written, waiting } = outcome;
  const times = waiting.flatMap(({ until }) => until ?? []);
  return {
    dryRun: outcome.dryRun,
    kept: plan.keep,
    dropped: { entries: paths.length, bytes: paths.reduce((sum, { bytes }) => sum + bytes, 0), paths },
    roots: { kept: plan.retention.roots, expired: plan.retention.expired },
    keptBecause: plan.retention.kept,
    pins: plan.retention.pins,
    segments: { untouched: plan.untouched.length, rewritten: plan.rewritten, written: plan.outputs.length },
    packs: {
      rewritten: plan.sparsePacks,
      written: plan.packs.length,
      bytes: plan.packs.reduce((sum, { bytes }) => sum + bytes, 0),
    },
    checkpoint: written?.tag,
    deletedManifests: outcome.deleted.length,
    freed: outcome.swept,
    notFreed: byReason(outcome.failed),
    waiting: {
      manifests: waiting.length,
      until: times.length > 0 ? new Date(times.reduce((a, b) => Math.max(a, b))) : undefined,
    },
  };
}

/** The paths of what is dropped; to be asked while the survey's segments are at hand. */
export const droppedPaths = (plan: GcPlan, { census, held }: Survey): DroppedPath[] =>
  plan.drop.flatMap(({ row, bytes, asserted }) => {
    const segment = census.segments[census.segmentOf(row)];
    const entry = segment && held.get(segment.tag)?.entryAt(row - segment.start);
    return entry ? { path: entry.narInfo.path, bytes, lastPushed: new Date(asserted * 1000) } : [];
  });

function byReason(failed: readonly FailedDeletion[]): NotFreed[] {
  const reasons = new Map<string, { readonly reason: string; readonly tags: string[] }>();
  for (const { tag, error } of failed) {
    const key = error.code === 'ERR_UNSUPPORTED' ? error.code : error.message; // those differ only in the digest
    const group = reasons.get(key) ?? { reason: error.message, tags: [] };
    group.tags.push(tag);
    reasons.set(key, group);
  }
  return [...reasons.values()];
}
