/**
 * What is live in a cache right now: the tag list and `cache-index`, less what checkpoints replace.
 *
 * Writers read strictly: whatever cannot be read or is of a newer format stops them, because a view with holes would
 * make gc drop what it did not see. Readers go on with what they can read.
 */

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
import type { Mirror } from './mirror.ts';

export interface CacheView {
  readonly live: LiveSet;
  /** Every tag in the repository, ours or not. */
  readonly tags: ReadonlySet<string>;
  /** All checkpoints that have a tag, replaced ones too. */
  readonly checkpoints: ReadonlyMap<string, CheckpointConfig>;
  /** Manifest descriptors of segments, as far as `cache-index` lists them. */
  readonly descriptors: ReadonlyMap<string, Descriptor>;
  readonly publicKeys: readonly string[];
}

export interface ViewOptions extends CallOptions {
  /** Throw on everything that is not understood; for writers. */
  readonly strict: boolean;
  /** Whether the caller reads an index of the older layout by itself: then it is no error, and no index. */
  readonly besideLegacy?: boolean | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** @throws {NixcacheError} the registry's errors; ERR_INDEX and ERR_INDEX_VERSION when strict */
export async function loadView(store: ReadOnlyStore, mirror: Mirror, options: ViewOptions): Promise<CacheView> {
  const [manifest, tagList] = await Promise.all([
    store.fetchManifest(CACHE_INDEX_TAG, options),
    store.listTags(options),
  ]);
  // Without segments beside it, going on without the index would show a reader an empty cache.
  const isAlone = !tagList.some((tag) => parseTag(tag)?.kind === 'segment');
  const indexOptions = { ...options, strict: options.strict || isAlone };
  const isOurs = manifest && !(options.besideLegacy === true && legacyIndexOf(manifest));
  const index = isOurs ? tolerate(indexOptions, () => decodeCacheIndex(manifest, store.name)) : undefined;
  const tags = new Set(tagList);
  const newer = tagList.find(isNewerTag);
  if (newer !== undefined) {
    tolerate(options, () => {
      throw new NixcacheError(
        'ERR_INDEX_VERSION',
        `${store.name} has ${newer}, of a newer cache format: install a newer nixcache`,
      );
    });
  }
  const descriptors = new Map<string, Descriptor>();
  for (const descriptor of index?.manifests ?? []) {
    const tag = tagOf(descriptor);
    if (tag !== undefined && parseTag(tag)?.kind === 'segment') descriptors.set(tag, descriptor);
  }
  const checkpoints = await loadCheckpoints(store, mirror, tagList, options);
  return {
    live: liveSet({ tags: tagList, listed: [...descriptors.keys()], checkpoints }),
    tags,
    checkpoints,
    descriptors,
    publicKeys: (index?.annotations?.[PUBLIC_KEYS_ANNOTATION] ?? '').split(' ').filter((key) => key !== ''),
  };
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
    // A registry that does not answer says nothing about the checkpoint: what it replaced would rise from the dead.
    if (options.strict || !isNixcacheError(error, ...DAMAGE)) throw readError(error, what);
    options.onWarning?.(`${what} is ignored: ${messageOf(error)}`);
    return undefined;
  }
}

/** What is wrong with content itself, not with the way to it. */
const DAMAGE = ['ERR_INDEX', 'ERR_INDEX_VERSION', 'ERR_NOT_FOUND', 'ERR_DIGEST_MISMATCH'] as const;

/** @throws {NixcacheError} ERR_INDEX, or ERR_INDEX_VERSION */
export function decodeCacheIndex(manifest: StoredManifest, name: string): ImageIndex {
  const what = `cache-index of ${name}`;
  if (legacyIndexOf(manifest)) {
    throw new NixcacheError(
      'ERR_INDEX',
      `${what} is of the older layout of cmspam/nixcache-oci: nixcache publish, push or copy into it converts it first`,
    );
  }
  if (manifest.descriptor.mediaType !== IMAGE_INDEX) {
    throw new NixcacheError(
      'ERR_INDEX',
      `${what} is a ${manifest.descriptor.mediaType}, not an image index: another tool wrote it; publish to another repository`,
    );
  }
  const index = decodeEntryPoint(manifest, what);
  const version = index.annotations?.[VERSION_ANNOTATION];
  if (version !== undefined) assertVersion(Number(version), what);
  if (index.artifactType !== CACHE_INDEX) {
    throw new NixcacheError(
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

function tolerate<T>(options: ViewOptions, decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (options.strict || !isNixcacheError(error)) throw error;
    options.onWarning?.(`${messageOf(error)}; going on with what else there is`);
    return undefined;
  }
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

/** A tag that names content which is not there is damage, not absence. */
export function readError(error: unknown, what: string): unknown {
  if (!isNixcacheError(error, 'ERR_NOT_FOUND')) return error;
  return new NixcacheError('ERR_INDEX', `${what}: its content is gone from the registry; run nixcache verify`, {
    cause: error,
  });
}
