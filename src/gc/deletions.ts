/**
 * Which tags may be deleted, and which must wait. Pure.
 *
 * - A segment or checkpoint is due when a checkpoint that replaces it is older than the grace period: until then a
 *   publisher that read the view before may still rely on it, and readers may still read it.
 * - A checkpoint is due only when, besides, nothing that it replaces is left, or a live checkpoint carries it on:
 *   otherwise what it killed would rise from the dead.
 * - A checkpoint's record goes with it; one whose checkpoint was never written goes after a month: were its gc only slow,
 *   or the list behind, a checkpoint would be left that nobody can read.
 */
import { byTime } from '../cache-index/live-set.ts';
import { checkpointOf, parseTag, recordTag } from '../cache-index/tags.ts';

export interface DeletionInput {
  /** Every tag in the repository. */
  readonly tags: ReadonlySet<string>;
  /** Segments that `cache-index` lists. */
  readonly listed: ReadonlySet<string>;
  /** All checkpoints by tag, replaced ones too. */
  readonly checkpoints: ReadonlyMap<string, { readonly replaces: readonly string[] }>;
  /** Unix milliseconds. */
  readonly now: number;
  readonly graceSeconds: number;
}

export interface Deletions {
  /** In the order in which to delete: checkpoints, records, segments, since some registries keep what an index names. */
  readonly due: readonly DueDeletion[];
  readonly waiting: readonly WaitingDeletion[];
}

export interface DueDeletion {
  readonly tag: string;
  readonly why: 'replaced' | 'unfinished';
}

export interface WaitingDeletion {
  readonly tag: string;
  /** Unix milliseconds; undefined while it still keeps something else from coming back. */
  readonly until: number | undefined;
}

export function planDeletions(input: DeletionInput): Deletions {
  const { tags, checkpoints, now, graceSeconds } = input;
  const since = deadSince(checkpoints);
  const carried = carriedOn(checkpoints, since);
  const isDone = (tag: string): boolean => carried.has(tag) || !(tags.has(tag) || input.listed.has(tag));
  const due: DueDeletion[] = [];
  const waiting: WaitingDeletion[] = [];
  const place = (tag: string, why: DueDeletion['why'], until: number, isFree: boolean): void => {
    if (until > now) waiting.push({ tag, until });
    else if (!isFree) waiting.push({ tag, until: undefined });
    else due.push({ tag, why });
  };
  for (const tag of [...tags].sort(byKindAndTime)) {
    const parsed = parseTag(tag);
    const dead = since.get(tag);
    if (!parsed) continue;
    if (parsed.kind === 'record') {
      const checkpoint = checkpointOf(tag);
      if (!tags.has(checkpoint)) place(tag, 'unfinished', parsed.time + UNFINISHED_MS, true);
      continue;
    }
    if (dead === undefined) continue;
    const isFree = parsed.kind === 'segment' || (checkpoints.get(tag)?.replaces.every(isDone) ?? false);
    place(tag, 'replaced', dead + graceSeconds * 1000, isFree);
    if (due.at(-1)?.tag === tag && parsed.kind === 'checkpoint' && tags.has(recordTag(tag))) {
      due.push({ tag: recordTag(tag), why: 'replaced' });
    }
  }
  return { due, waiting };
}

/** 30 days, longer than any gc is under way. */
const UNFINISHED_MS = 30 * 24 * 60 * 60 * 1000;

/** When each replaced tag died, in Unix milliseconds: the time of the oldest checkpoint that replaces it. */
function deadSince(checkpoints: DeletionInput['checkpoints']): Map<string, number> {
  const since = new Map<string, number>();
  for (const [checkpoint, { replaces }] of checkpoints) {
    const time = parseTag(checkpoint)?.time;
    if (time === undefined) continue;
    for (const tag of replaces) since.set(tag, Math.min(time, since.get(tag) ?? time));
  }
  return since;
}

/** What checkpoints replace that nothing replaces. */
function carriedOn(checkpoints: DeletionInput['checkpoints'], dead: ReadonlyMap<string, number>): Set<string> {
  const carried = new Set<string>();
  for (const [tag, { replaces }] of checkpoints) if (!dead.has(tag)) for (const name of replaces) carried.add(name);
  return carried;
}

const KINDS = ['checkpoint', 'record', 'segment'];

function byKindAndTime(a: string, b: string): number {
  const kindOf = (tag: string): number => KINDS.indexOf(parseTag(tag)?.kind ?? '');
  return kindOf(a) - kindOf(b) || byTime(a, b);
}
