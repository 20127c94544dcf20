/**
 * What makes good that nobody can see a segment and a checkpoint appear in one step: gc looks again once its checkpoint is
 * visible, and lists anew what segments need that came too late to be seen. The next gc does so for one that died, before it
 * deletes anything.
 */
import type { IndexReader } from '../cache/read/index-reader.ts';
import { type CacheView, droppedSegments } from '../cache/read/view.ts';
import { CacheWriter } from '../cache/write/cache-writer.ts';
import { listAgain } from '../cache/write/keep-whole.ts';
import { parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { newestRows } from '../census/marks.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import { needsOf } from './conflict.ts';
import type { OnGcEvent } from './events.ts';
import type { GcPlan } from './plan.ts';
import type { Survey } from './survey.ts';

export interface LookAgainOptions extends CallOptions {
  readonly store: ContentStore;
  readonly reader: IndexReader;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  readonly onEvent: OnGcEvent;
  readonly now: () => Date;
}

/** After the checkpoint of `plan`: lists anew what it dropped and segments beside `known` need. */
export async function keepNeeded(
  plan: Pick<GcPlan, 'drop'>,
  known: Iterable<string>,
  options: LookAgainOptions,
): Promise<void> {
  const { store, reader, signal } = options;
  const dropped = new Set<HashPart>(plan.drop.map(({ hashPart }) => hashPart));
  const seen = new Set(known);
  for (;;) {
    const tags = await store.listTags({ signal });
    const added = tags.filter((tag) => !seen.has(tag) && parseTag(tag)?.kind === 'segment');
    if (added.length === 0) return;
    for (const tag of added) seen.add(tag);
    await reader.refresh({ signal });
    const { needed } = await needsOf(new Set(added), options);
    const lacking = [...needed.keys()].filter((hashPart) => dropped.has(hashPart) && !reader.has(hashPart));
    for (const tag of await writeAgain(lacking, options)) seen.add(tag);
  }
}

/** Lists anew what the plan keeps, and what only dead segments still have; whether there was any. */
export async function restoreKept(
  plan: GcPlan,
  { census, view }: Survey,
  options: LookAgainOptions & { readonly graceSeconds: number },
): Promise<boolean> {
  const among = unsettled(view, options.graceSeconds);
  if (among.length === 0) return false;
  const best = newestRows(census);
  const absent = new Set<HashPart>();
  for (let path = 0; path < census.pathCount; path++) {
    if (best[path] === 0 && plan.marks.isKept(path)) absent.add(census.hashPartOf(path));
  }
  for (const { path } of plan.retention.kept) {
    if (census.findPath(hashPartOf(path)) === undefined) absent.add(hashPartOf(path));
  }
  return (await writeAgain([...absent], { ...options, among })).length > 0;
}

/** Dead segments that no gc has yet looked into long after they died: those of which a later checkpoint says so are left out. */
function unsettled(view: CacheView, graceSeconds: number): string[] {
  const settled = new Set<string>();
  const timeOf = (tag: string): number => parseTag(tag)?.time ?? 0;
  for (const [later, { replaces }] of view.checkpoints) {
    for (const tag of replaces) {
      const earlier = view.checkpoints.get(tag);
      if (!earlier || timeOf(later) - timeOf(tag) <= graceSeconds * 1000) continue;
      for (const each of earlier.replaces) settled.add(each);
    }
  }
  return droppedSegments(view).filter((tag) => !settled.has(tag));
}

/** The tags of the segments in which it is listed now. */
async function writeAgain(
  wanted: readonly HashPart[],
  options: LookAgainOptions & { readonly among?: readonly string[] },
): Promise<string[]> {
  const { store, reader, creator, sourceUrl, onEvent, now, signal, among } = options;
  if (wanted.length === 0) return [];
  const { storeDir } = reader;
  await using writer = new CacheWriter({
    ...{ store, storeDir, creator, sourceUrl, now, signal, keepsDependents: true },
    onLeftOut: ({ path, reason }) => onEvent({ type: 'warning', message: `${path} is needed, and lost: ${reason}` }),
  });
  await listAgain(wanted, { store, reader, writer, keepsTimes: true, among, signal });
  await writer.finish();
  const entries = writer.segments.reduce((sum, segment) => sum + segment.entries, 0);
  if (entries > 0)
    onEvent({ type: 'warning', message: `${entries} dropped entries are needed after all: listed again` });
  return writer.segments.map(({ tag }) => tag);
}
