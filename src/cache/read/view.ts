/**
 * What is live in a cache right now: the tag list and `cache-index`, less what checkpoints replace. */

import { type CheckpointConfig, decodeCheckpointConfig, tagOf } from '../../cache-index/checkpoint.ts';
import { type LiveSet, liveSet } from '../../cache-index/live-set.ts';
import {
  CACHE_INDEX,
  ENTRIES_SIZE_ANNOTATION,
  PUBLIC_KEYS_ANNOTATION,
  VERSION_ANNOTATION,
} from '../../cache-index/media-types.ts';
import { assertVersion } from '../../cache-index/segment.ts';
import { CACHE_INDEX_TAG, isNewerTag, parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import type { ReadOnlyStore, StoredManifest } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { decodeImageIndex, IMAGE_INDEX, type ImageIndex } from '../../oci/manifest.ts';
import { legacyIndexOf } from './legacy-manifest.ts';
import { type LegacySegment, type ReadLegacyOptions, readLegacySegment } from './legacy-segment.ts';
import type { Mirror } from './mirror.ts';
import { type OnProblem, type Problem, readError, troubleOf } from './problem.ts';

export interface CacheView {
  readonly live: LiveSet;
  /** Every tag in the repository, ours or not. */
  readonly tags: ReadonlySet<string>;
  /** All checkpoints that have a tag, replaced ones too. */
  readonly checkpoints: ReadonlyMap<string, CheckpointConfig>;
  /** Manifest descriptors of segments, as far as `cache-index` lists them. */
  readonly descriptors: ReadonlyMap<string, Descriptor>;
  readonly publicKeys: readonly string[];
  /** Whether `cache-index` could be read; `foreign`: another tool wrote it. */
  readonly index: 'current' | 'older' | 'missing' | 'unreadable' | 'foreign';
  /** The index of the older layout, as the oldest of the live segments. */
  readonly legacy: LegacySegment | undefined;
}

export interface ViewOptions extends CallOptions {
  readonly onProblem: OnProblem;
  /** What becomes of an index of the older layout: a segment, or nothing; else it is a problem. */
  readonly legacy?: 'ignore' | Pick<ReadLegacyOptions, 'before' | 'now'> | undefined;
}

/** @throws {NixcacheError} the registry's errors, and what `onProblem` throws */
export async function loadView(store: ReadOnlyStore, mirror: Mirror, options: ViewOptions): Promise<CacheView> {
  const [entryPoint, tagList] = await Promise.all([fetchEntryPoint(store, options), store.listTags(options)]);
  const newer = tagList.find(isNewerTag);
  if (newer !== undefined) {
    const message = `${store.name} has ${newer}, of a newer cache format: install a newer nixcache`;
    const error = new NixcacheError('ERR_INDEX_VERSION', message);
    options.onProblem({ part: 'format', tag: newer, error, warning: goingOn(error) });
  }
  // Without segments beside it, going on without the index would show a reader an empty cache.
  const isAlone = !tagList.some((tag) => parseTag(tag)?.kind === 'segment');
  const { index, legacy, state } = await readEntryPoint(entryPoint, store, isAlone, options);
  const descriptors = new Map<string, Descriptor>();
  for (const descriptor of index?.manifests ?? []) {
    const tag = tagOf(descriptor);
    if (tag !== undefined && parseTag(tag)?.kind === 'segment') descriptors.set(tag, descriptor);
  }
  const checkpoints = await loadCheckpoints(store, mirror, tagList, options);
  const live = liveSet({ tags: tagList, listed: [...descriptors.keys()], checkpoints });
  return {
    live: legacy ? { ...live, segments: [legacy.record.tag, ...live.segments] } : live,
    tags: new Set(tagList),
    ...{ checkpoints, descriptors, legacy, index: state },
    publicKeys: legacy?.record.config.publicKeys ?? keysIn(index),
  };
}

const keysIn = (index: ImageIndex | undefined): string[] =>
  (index?.annotations?.[PUBLIC_KEYS_ANNOTATION] ?? '').split(' ').filter((key) => key !== '');

const goingOn = (error: unknown): string => `${messageOf(error)}; going on with what else there is`;

/** The manifest at `cache-index`, or why it cannot be had. */
async function fetchEntryPoint(
  store: ReadOnlyStore,
  options: ViewOptions,
): Promise<StoredManifest | undefined | { readonly error: unknown }> {
  try {
    return await store.fetchManifest(CACHE_INDEX_TAG, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!troubleOf(error)) throw error;
    return { error };
  }
}

interface EntryPoint {
  readonly index?: ImageIndex;
  readonly legacy?: LegacySegment;
  readonly state: CacheView['index'];
}

async function readEntryPoint(
  found: StoredManifest | undefined | { readonly error: unknown },
  store: ReadOnlyStore,
  isAlone: boolean,
  { onProblem, legacy, signal }: ViewOptions,
): Promise<EntryPoint> {
  const tag = CACHE_INDEX_TAG;
  if (!found) return { state: 'missing' };
  if ('error' in found) {
    onProblem({ part: 'cache-index', tag, error: found.error, warning: undefined });
    return { state: 'unreadable' };
  }
  const older = legacyIndexOf(found) && legacy;
  if (older === 'ignore') return { state: 'older' };
  try {
    if (!older) return { index: decodeCacheIndex(found, store.name), state: 'current' };
    return { legacy: await readLegacySegment(store, found, { ...older, onProblem, signal }), state: 'older' };
  } catch (error) {
    if (!isNixcacheError(error) || (older && !troubleOf(error))) throw error;
    const isForeign = error instanceof ForeignIndex;
    const part: Problem['part'] = isForeign ? 'foreign-index' : 'cache-index';
    onProblem({ part, tag, error, warning: isAlone || older ? undefined : goingOn(error) });
    return { state: isForeign ? 'foreign' : 'unreadable' };
  }
}

async function loadCheckpoints(
  store: ReadOnlyStore,
  mirror: Mirror,
  tags: readonly string[],
  options: ViewOptions,
): Promise<Map<string, CheckpointConfig>> {
  const loaded = await Promise.all(
    tags.flatMap((tag) => {
      const parsed = parseTag(tag);
      return parsed?.kind === 'checkpoint' ? [loadCheckpoint(store, mirror, tag, parsed.id, options)] : [];
    }),
  );
  return new Map(loaded.filter((pair) => pair !== undefined));
}

async function loadCheckpoint(
  store: ReadOnlyStore,
  mirror: Mirror,
  tag: string,
  digest: Descriptor['digest'],
  options: ViewOptions,
): Promise<[string, CheckpointConfig] | undefined> {
  const what = `checkpoint ${tag} of ${store.name}`;
  try {
    return [tag, decodeCheckpointConfig(await mirror.fetchConfig(store, { digest }, what, options), what)];
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

/** Another tool holds the tag `cache-index`. */
class ForeignIndex extends NixcacheError {}

/** @throws {NixcacheError} ERR_INDEX, or ERR_INDEX_VERSION */
export function decodeCacheIndex(manifest: StoredManifest, name: string): ImageIndex {
  const what = `cache-index of ${name}`;
  if (legacyIndexOf(manifest)) {
    throw new ForeignIndex(
      'ERR_INDEX',
      `${what} is of the older layout of cmspam/nixcache-oci: nixcache publish, push or copy into it converts it first`,
    );
  }
  if (manifest.descriptor.mediaType !== IMAGE_INDEX) {
    throw new ForeignIndex(
      'ERR_INDEX',
      `${what} is a ${manifest.descriptor.mediaType}, not an image index: another tool wrote it; publish to another repository`,
    );
  }
  const index = decodeEntryPoint(manifest, what);
  const version = index.annotations?.[VERSION_ANNOTATION];
  if (version !== undefined) assertVersion(Number(version), what);
  if (index.artifactType !== CACHE_INDEX) {
    throw new ForeignIndex(
      'ERR_INDEX',
      `${what} is not a nixcache index (artifactType ${index.artifactType ?? 'missing'}): publish to another repository`,
    );
  }
  return index;
}

/** Nothing is lost with an unreadable one, but who wrote it may be about to write more: a person has to look. */
function decodeEntryPoint({ bytes }: StoredManifest, what: string): ImageIndex {
  try {
    return decodeImageIndex(bytes, what);
  } catch (cause) {
    const advice = 'it can be rebuilt from the other tags: delete the tag cache-index and publish again';
    throw new NixcacheError('ERR_INDEX', `${messageOf(cause)}; ${advice}`, { cause });
  }
}

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
