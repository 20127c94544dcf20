/**
 * Which segments are live: (all segment tags ∪ what `cache-index` lists ∪ what live checkpoints list) − everything that
 * any checkpoint replaces. Additions and removals only grow and names are unique, so no order of writes and no lag of
 * a listing can lose a segment: it can only be seen later.
 */
import type { CheckpointConfig } from './checkpoint.ts';
import { parseTag } from './tags.ts';

export interface LiveSetInput {
  /** The registry's tag list; may lag. */
  readonly tags: readonly string[];
  /** Tags that `cache-index` lists; may be stale. */
  readonly listed: readonly string[];
  readonly checkpoints: ReadonlyMap<string, Pick<CheckpointConfig, 'replaces' | 'segments'>>;
}

export interface LiveSet {
  /** Segment tags, oldest first. */
  readonly segments: readonly string[];
  /** Checkpoint tags that no other checkpoint replaces, oldest first. */
  readonly checkpoints: readonly string[];
  /** Everything that some checkpoint replaces, whether its tag is still there or not. */
  readonly replaced: ReadonlySet<string>;
}

export function liveSet({ tags, listed, checkpoints }: LiveSetInput): LiveSet {
  const replaced = new Set<string>();
  for (const { replaces } of checkpoints.values()) for (const tag of replaces) replaced.add(tag);
  const live = new Set<string>();
  const add = (tag: string): void => {
    if (!replaced.has(tag) && parseTag(tag)?.kind === 'segment') live.add(tag);
  };
  for (const tag of tags) add(tag);
  for (const tag of listed) add(tag);
  for (const [name, { segments }] of checkpoints) if (!replaced.has(name)) for (const tag of segments) add(tag);
  return {
    segments: [...live].sort(byTime),
    checkpoints: [...checkpoints.keys()].filter((tag) => !replaced.has(tag)).sort(byTime),
    replaced,
  };
}

/** Tags sort by time behind their prefix. */
export const byTime = (a: string, b: string): number => {
  const x = a.slice(a.indexOf('-'));
  const y = b.slice(b.indexOf('-'));
  return x < y ? -1 : x > y ? 1 : 0;
};
