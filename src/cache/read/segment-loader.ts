/** Brings the segments of a view to hand: from the local copy, or else from the store. */
import pLimit from 'p-limit';
import { parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf } from '../../errors.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { Mirror, MirroredSegment } from './mirror.ts';
import { type OnProblem, readError } from './problem.ts';
import { assertStillTagged, type CacheView, entriesSize } from './view.ts';

export interface LoadedSegment {
  readonly tag: string;
  /** Unix seconds, by its tag. */
  readonly time: number;
  readonly segment: MirroredSegment;
}

export interface SegmentLoaderOptions extends CallOptions {
  readonly onProblem: OnProblem;
  readonly store: ReadOnlyStore;
  readonly mirror: Mirror;
  readonly view: CacheView;
  /** Of a segment that was deleted and that a stale `cache-index` still lists. */
  readonly onStale?: ((message: string) => void) | undefined;
}

/** Entries blobs fetched at once: enough to hide 50 ms of latency, few enough for a registry's patience. */
const CONCURRENT_FETCHES = 16;

/**
 * The segments `tags`, less those that a reader has to do without; `bytes` is what was downloaded. After an error
 * nothing is left open.
 *
 * @throws {NixcacheError} what `onProblem` throws; TagVanished when it was deleted meanwhile
 */
export async function loadSegments(
  tags: readonly string[],
  options: SegmentLoaderOptions,
): Promise<{ readonly segments: readonly LoadedSegment[]; readonly bytes: number }> {
  const limit = pLimit(CONCURRENT_FETCHES);
  let bytes = 0;
  let stopped = false;
  const load = async (tag: string): Promise<LoadedSegment | undefined> => {
    if (stopped) return undefined;
    try {
      const fetched = await loadSegment(tag, options);
      bytes += fetched?.bytes ?? 0;
      return fetched?.loaded;
    } catch (error) {
      stopped = true;
      throw error;
    }
  };
  const outcomes = await Promise.allSettled(tags.map((tag) => limit(load, tag)));
  const segments = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? (outcome.value ?? []) : []));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (!failed) return { segments, bytes };
  for (const { segment } of segments) segment.close();
  throw failed.reason;
}

/** Those of the segments `tags` that are kept on this machine. */
export async function loadKept(tags: readonly string[], mirror: Mirror): Promise<readonly LoadedSegment[]> {
  const segments: LoadedSegment[] = [];
  for (const tag of tags) {
    const parsed = parseTag(tag);
    const segment = parsed && (await mirror.loadSegment(parsed.id));
    if (segment) segments.push({ tag, time: Math.floor(parsed.time / 1000), segment });
  }
  return segments;
}

async function loadSegment(
  tag: string,
  { store, mirror, view, onProblem, signal, onStale }: SegmentLoaderOptions,
): Promise<{ readonly loaded: LoadedSegment; readonly bytes: number } | undefined> {
  const { legacy } = view;
  if (tag === legacy?.record.tag) {
    return { loaded: { tag, time: legacy.time, segment: legacy.segment }, bytes: legacy.bytes };
  }
  const parsed = parseTag(tag);
  if (!parsed) throw new Error(`${tag} is not a segment tag`);
  const what = `segment ${tag} of ${store.name}`;
  const time = Math.floor(parsed.time / 1000);
  const kept = await mirror.loadSegment(parsed.id);
  if (kept) return { loaded: { tag, time, segment: kept }, bytes: 0 };
  try {
    const target = { digest: parsed.id, size: entriesSize(view.descriptors.get(tag)) };
    const { segment, bytes } = await mirror.fetchSegment(store, target, what, { signal });
    return { loaded: { tag, time, segment }, bytes };
  } catch (error) {
    signal?.throwIfAborted();
    if (view.tags.has(tag)) await assertStillTagged(store, tag, error, { signal });
    // Only a stale cache-index names it: it was deleted since.
    const gone = !view.tags.has(tag) && isNixcacheError(error, 'ERR_NOT_FOUND');
    const warning = `${what} is left out: ${messageOf(error)}`;
    if (gone) onStale?.(warning);
    else onProblem({ part: 'entries', tag, error: readError(error, what), warning });
    return undefined;
  }
}
