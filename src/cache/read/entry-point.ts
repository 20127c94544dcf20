/** What stands at the tag `cache-index`: an index of ours, one of the older layout, or something else. */

import { tagOf } from '../../cache-index/checkpoint.ts';
import { CACHE_INDEX, PUBLIC_KEYS_ANNOTATION, VERSION_ANNOTATION } from '../../cache-index/media-types.ts';
import { assertVersion } from '../../cache-index/segment.ts';
import { CACHE_INDEX_TAG, parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import type { ReadOnlyStore, StoredManifest } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { decodeImageIndex, IMAGE_INDEX, type ImageIndex } from '../../oci/manifest.ts';
import { legacyIndexOf } from './legacy-index.ts';
import { type LegacySegment, type ReadLegacyOptions, readLegacySegment } from './legacy-segment.ts';
import { goingOn, type OnProblem, type Problem, troubleOf } from './problem.ts';

/** The manifest at `cache-index`, or why it cannot be had. */
export async function fetchEntryPoint(
  store: ReadOnlyStore,
  options: CallOptions,
): Promise<StoredManifest | undefined | { readonly error: unknown }> {
  try {
    return await store.fetchManifest(CACHE_INDEX_TAG, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!troubleOf(error)) throw error;
    return { error };
  }
}

export interface EntryPoint {
  /** Whether `cache-index` could be read; `foreign`: another tool wrote it. */
  readonly index: 'current' | 'older' | 'missing' | 'unreadable' | 'foreign';
  /** Manifest descriptors of the segments that it lists. */
  readonly descriptors: ReadonlyMap<string, Descriptor>;
  readonly publicKeys: readonly string[];
  /** An index of the older layout. */
  readonly legacy: LegacySegment | undefined;
}

export interface EntryPointOptions extends CallOptions {
  readonly onProblem: OnProblem;
  /** What becomes of an index of the older layout: a segment, or nothing; else it is a problem. */
  readonly legacy?: 'ignore' | Pick<ReadLegacyOptions, 'before' | 'now'> | undefined;
}

const nothing = (index: EntryPoint['index']): EntryPoint => ({
  ...{ index, descriptors: new Map(), publicKeys: [], legacy: undefined },
});

/** `isAlone`: there is no segment beside it. Then a reader that went on without it would show an empty cache. */
export async function readEntryPoint(
  found: StoredManifest | undefined | { readonly error: unknown },
  store: ReadOnlyStore,
  isAlone: boolean,
  { onProblem, legacy, signal }: EntryPointOptions,
): Promise<EntryPoint> {
  const tag = CACHE_INDEX_TAG;
  if (!found) return nothing('missing');
  if ('error' in found) {
    onProblem({ part: 'cache-index', tag, error: found.error, warning: undefined });
    return nothing('unreadable');
  }
  const older = legacyIndexOf(found) && legacy;
  if (older === 'ignore') return nothing('older');
  try {
    if (!older) return contentOf(decodeCacheIndex(found, store.name));
    const segment = await readLegacySegment(store, found, { ...older, onProblem, signal });
    return { ...nothing('older'), legacy: segment, publicKeys: segment.record.config.publicKeys };
  } catch (error) {
    if (!isNixcacheError(error) || (older && !troubleOf(error))) throw error;
    const isForeign = error instanceof ForeignIndex;
    const part: Problem['part'] = isForeign ? 'foreign-index' : 'cache-index';
    onProblem({ part, tag, error, warning: isAlone || older ? undefined : goingOn(error) });
    return nothing(isForeign ? 'foreign' : 'unreadable');
  }
}

function contentOf({ manifests, annotations }: ImageIndex): EntryPoint {
  const descriptors = new Map<string, Descriptor>();
  for (const descriptor of manifests) {
    const tag = tagOf(descriptor);
    if (tag !== undefined && parseTag(tag)?.kind === 'segment') descriptors.set(tag, descriptor);
  }
  const named = (annotations?.[PUBLIC_KEYS_ANNOTATION] ?? '').split(' ', MAX_PUBLIC_KEYS);
  const publicKeys = named.filter((key) => key !== '' && key.length <= MAX_PUBLIC_KEY_LENGTH);
  return { index: 'current', descriptors, publicKeys, legacy: undefined };
}

/** One for each publisher, and for each rotation; each takes 20 µs to read. */
const MAX_PUBLIC_KEYS = 1000;
/** A name and 44 characters. */
const MAX_PUBLIC_KEY_LENGTH = 1000;

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
