/** What is live in a cache right now: the tag list and `cache-index`, less what checkpoints replace. */

import pLimit from 'p-limit';
import { type CheckpointConfig, decodeCheckpointConfig } from '../../cache-index/checkpoint.ts';
import { byTime, type LiveSet, liveSet } from '../../cache-index/live-set.ts';
import { ENTRIES_SIZE_ANNOTATION } from '../../cache-index/media-types.ts';
import { checkpointOf, isNewerTag, parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { type EntryPoint, type EntryPointOptions, fetchEntryPoint, readEntryPoint } from './entry-point.ts';
import type { Mirror } from './mirror.ts';
import { goingOn, readError } from './problem.ts';

export interface CacheView extends EntryPoint {
  /** With the index of the older layout, where there is one, as the oldest segment. */
  readonly live: LiveSet;
  /** Every tag in the repository, ours or not. */
  readonly tags: ReadonlySet<string>;
  /** All checkpoints that have a tag, replaced ones too. */
  readonly checkpoints: ReadonlyMap<string, CheckpointConfig>;
  /** Segments that live checkpoints list: they are there, whatever the tag list says. */
  readonly vouched: ReadonlySet<string>;
  /** Live segments that die with checkpoints which are announced, and not there yet. Of readers that asked for it. */
  readonly aboutToGo: ReadonlySet<string>;
}

export interface ViewOptions extends EntryPointOptions {
  /** Whether announced checkpoints are read too: writers heed them. */
  readonly announced?: boolean | undefined;
}

/** @throws {NixcacheError} the registry's errors, and what `onProblem` throws */
export async function loadView(store: ReadOnlyStore, mirror: Mirror, options: ViewOptions): Promise<CacheView> {
  const [found, tagList] = await Promise.all([fetchEntryPoint(store, options), store.listTags(options)]);
  const newer = tagList.find(isNewerTag);
  if (newer !== undefined) {
    const message = `${store.name} has ${newer}, of a newer cache format: install a newer nixcache`;
    const error = new NixcacheError('ERR_INDEX_VERSION', message);
    options.onProblem({ part: 'format', tag: newer, error, warning: goingOn(error) });
  }
  const isAlone = !tagList.some((tag) => parseTag(tag)?.kind === 'segment');
  const entryPoint = await readEntryPoint(found, store, isAlone, options);
  const { descriptors, legacy } = entryPoint;
  const checkpoints = await loadCheckpoints(store, mirror, tagList, options);
  const live = liveSet({ tags: tagList, listed: [...descriptors.keys()], checkpoints });
  const tags = new Set(tagList);
  const vouched = new Set(live.checkpoints.flatMap((tag) => checkpoints.get(tag)?.segments ?? []));
  const aboutToGo = new Set(options.announced ? await loadAnnounced(store, mirror, tags, options) : []);
  return {
    ...entryPoint,
    ...{ tags, checkpoints, vouched, aboutToGo },
    live: legacy ? { ...live, segments: [legacy.record.tag, ...live.segments] } : live,
  };
}

async function loadCheckpoints(
  store: ReadOnlyStore,
  mirror: Mirror,
  tags: readonly string[],
  options: EntryPointOptions,
): Promise<Map<string, CheckpointConfig>> {
  const limit = pLimit(CONCURRENT_CONFIGS);
  const size = { bytes: 0 };
  const loaded = await Promise.all(
    tags.flatMap((tag) => {
      const parsed = parseTag(tag);
      if (parsed?.kind !== 'checkpoint') return [];
      return [limit(() => loadCheckpoint(store, mirror, tag, parsed.id, size, options))];
    }),
  );
  return new Map(loaded.filter((pair) => pair !== undefined));
}

/** Each may have 64 MiB. */
const CONCURRENT_CONFIGS = 4;
/** 256 MiB of all checkpoints that have a tag: a gc deletes those that it replaces, and all of them are in memory. */
const MAX_CHECKPOINTS_BYTES = 256 * 1024 * 1024;

/** What the checkpoints replace whose records are there, and they are not. */
async function loadAnnounced(
  store: ReadOnlyStore,
  mirror: Mirror,
  tags: ReadonlySet<string>,
  options: EntryPointOptions,
): Promise<string[]> {
  const announced = [...tags].filter((tag) => parseTag(tag)?.kind === 'record' && !tags.has(checkpointOf(tag)));
  const limit = pLimit(CONCURRENT_CONFIGS);
  const loaded = await Promise.all(
    announced.map((tag) =>
      limit(async () => {
        const parsed = parseTag(tag);
        if (!parsed) return [];
        const what = `record ${tag} of ${store.name}`;
        try {
          const bytes = await mirror.fetchConfig(store, { digest: parsed.id }, what, options);
          return decodeCheckpointConfig(bytes, what).replaces;
        } catch (error) {
          // Its gc is dead: a checkpoint whose config is gone cannot be stored, or cannot be read and stops every writer.
          if (isNixcacheError(error, ...DAMAGE)) return [];
          throw error;
        }
      }),
    ),
  );
  return loaded.flat();
}

async function loadCheckpoint(
  store: ReadOnlyStore,
  mirror: Mirror,
  tag: string,
  digest: Descriptor['digest'],
  size: { bytes: number },
  options: EntryPointOptions,
): Promise<[string, CheckpointConfig] | undefined> {
  const what = `checkpoint ${tag} of ${store.name}`;
  try {
    const bytes = await mirror.fetchConfig(store, { digest }, what, options);
    size.bytes += bytes.length;
    if (size.bytes > MAX_CHECKPOINTS_BYTES) {
      const reason = `the checkpoints of ${store.name} are larger than ${MAX_CHECKPOINTS_BYTES} bytes together`;
      throw new NixcacheError('ERR_INDEX', `${reason}; delete those that are not yours`);
    }
    return [tag, decodeCheckpointConfig(bytes, what)];
  } catch (error) {
    await assertStillTagged(store, tag, error, options);
    const recalled = await mirror.recallCheckpoint(digest, what);
    // A registry that does not answer says nothing about the checkpoint: what it replaced would rise from the dead.
    const warning = isNixcacheError(error, ...DAMAGE) ? `${what} is ignored: ${messageOf(error)}` : undefined;
    const isRecalled = recalled !== undefined;
    options.onProblem({ part: 'checkpoint', tag, error: readError(error, what), warning, isRecalled });
    return recalled && [tag, recalled];
  }
}

/** What is wrong with content itself, not with the way to it. */
const DAMAGE = ['ERR_INDEX', 'ERR_INDEX_VERSION', 'ERR_NOT_FOUND', 'ERR_DIGEST_MISMATCH'] as const;

/** Bytes of a segment's entries blob, where `cache-index` says so. */
export function entriesSize(descriptor: Descriptor | undefined): number | undefined {
  const text = descriptor?.annotations?.[ENTRIES_SIZE_ANNOTATION];
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Of blobs that a reader of `view` keeps at hand. */
export function keptDigests(view: CacheView): Set<Digest> {
  const digests = new Set<Digest>();
  for (const tag of [...view.live.segments, ...view.checkpoints.keys()]) {
    const id = parseTag(tag)?.id;
    if (id) digests.add(id);
  }
  for (const { lookup } of view.checkpoints.values()) if (lookup) digests.add(lookup.digest);
  return digests;
}

/** Whether nothing of a cache is there. One that was emptied still has its cache-index. */
export const isNowhere = ({ index, live, checkpoints }: CacheView): boolean =>
  index === 'missing' && live.segments.length === 0 && checkpoints.size === 0;

/** @throws {NixcacheError} ERR_NOT_FOUND: nothing to look at must not pass as nothing wrong */
export function assertCache(view: CacheView, name: string): void {
  if (!isNowhere(view)) return;
  throw new NixcacheError(
    'ERR_NOT_FOUND',
    `there is no cache at ${name}: it has neither cache-index nor segments; is the reference right? nixcache publish makes one`,
  );
}

/** Segments that are dead and not deleted yet, oldest first. */
export const droppedSegments = ({ live, tags }: CacheView): string[] =>
  [...live.replaced].filter((tag) => tags.has(tag) && parseTag(tag)?.kind === 'segment').sort(byTime);

/** The shortest retention that live checkpoints tell of, in seconds. */
export const retentionInForce = ({ live, checkpoints }: CacheView): number =>
  live.checkpoints.reduce(
    (least, tag) => Math.min(least, checkpoints.get(tag)?.retainSeconds ?? least),
    Number.POSITIVE_INFINITY,
  );

/** A tag was deleted between the reading of the tag list and of what it names: the view has to be read again. */
export class TagVanished extends NixcacheError {}

/** @throws {TagVanished} when `error` says that content is absent, and the `tag` that named it is gone too */
export async function assertStillTagged(
  store: ReadOnlyStore,
  tag: string,
  error: unknown,
  options: CallOptions,
): Promise<void> {
  if (!isNixcacheError(error, 'ERR_NOT_FOUND') || (await store.resolve(tag, options)) !== undefined) return;
  throw new TagVanished('ERR_INDEX', `${tag} was deleted from ${store.name} while it was read; try again`, {
    cause: error,
  });
}
