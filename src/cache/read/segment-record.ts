/** What a segment says beside its entries: its layers, and the roots, pins and keys in its config. */

import {
  decodeSegmentConfig,
  MAX_SEGMENT_CONFIG_BYTES,
  type SegmentConfig,
  segmentDescriptor,
} from '../../cache-index/segment.ts';
import { parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import type { ReadOnlyStore, StoredManifest } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { decodeImageManifest, type ImageManifest } from '../../oci/manifest.ts';
import { readBlob } from '../../oci/read-blob.ts';
import { type OnProblem, type Problem, stopAtProblems } from './problem.ts';
import type { CacheView } from './view.ts';

export interface SegmentRecord {
  readonly tag: string;
  /** As checkpoints and `cache-index` list it. */
  readonly descriptor: Descriptor;
  /** The entries blob first. */
  readonly layers: readonly Descriptor[];
  readonly config: SegmentConfig;
}

export interface SegmentRecordOptions extends CallOptions {
  readonly store: ReadOnlyStore;
}

/** As much of a record as could be read. */
export interface PartialRecord {
  readonly manifest: StoredManifest | undefined;
  /** Whether the manifest was found by its tag, and not by the digest that `cache-index` remembers. */
  readonly isTagged: boolean;
  /** What the manifest says, where that can be read. */
  readonly image: ImageManifest | undefined;
  readonly config: SegmentConfig | undefined;
}

/**
 * The record of the live segment `tag`; undefined for one that was deleted and that a stale `cache-index` still lists.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_INDEX, ERR_INDEX_VERSION and the registry's errors
 */
export async function fetchSegmentRecord(
  tag: string,
  view: CacheView,
  options: SegmentRecordOptions,
): Promise<SegmentRecord | undefined> {
  if (tag === view.legacy?.record.tag) return view.legacy.record;
  const record = await readSegmentRecord(tag, view, { ...options, onProblem: stopAtProblems });
  if (!record) return undefined;
  const { manifest, image, config } = record;
  if (!manifest || !image || !config) throw new Error(`segment ${tag} lacks something, and nothing was said`);
  return {
    tag,
    descriptor: segmentDescriptor(manifest.descriptor, tag, image.layers[0]?.size),
    layers: image.layers,
    config,
  };
}

/** The same as far as it goes: what `onProblem` lets pass is left out. */
export async function readSegmentRecord(
  tag: string,
  view: CacheView,
  options: SegmentRecordOptions & { readonly onProblem: OnProblem },
): Promise<PartialRecord | undefined> {
  const { store, onProblem, signal } = options;
  const what = `segment ${tag} of ${store.name}`;
  const attempt = async <T>(part: Problem['part'], read: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      signal?.throwIfAborted();
      onProblem({ part, tag, error, warning: undefined });
      return undefined;
    }
  };
  let found: Awaited<ReturnType<typeof fetchSegmentManifest>>;
  const isAsked = await attempt('manifest', async () => {
    found = await fetchSegmentManifest(tag, view, options);
    if (found || isStale(tag, view)) return true;
    throw new NixcacheError('ERR_NOT_FOUND', `${what} has no manifest`);
  });
  if (isAsked && !found) return undefined;
  const manifest = found?.manifest;
  const image = manifest && (await attempt('image', async () => decodeSegmentManifest(tag, manifest, what)));
  const config = image && (await attempt('config', () => fetchSegmentConfig(image.config, what, options)));
  return { manifest, isTagged: found?.isTagged ?? false, image, config };
}

/**
 * The manifest of the live segment `tag`, and what it says.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_INDEX and the registry's errors
 */
export async function fetchSegmentImage(
  tag: string,
  view: Pick<CacheView, 'descriptors'> | undefined,
  options: SegmentRecordOptions,
): Promise<StoredManifest & { readonly image: ImageManifest }> {
  const what = `segment ${tag} of ${options.store.name}`;
  const found = await fetchSegmentManifest(tag, view, options);
  if (!found) throw new NixcacheError('ERR_NOT_FOUND', `${what} has no manifest`);
  return { ...found.manifest, image: decodeSegmentManifest(tag, found.manifest, what) };
}

function decodeSegmentManifest(tag: string, { bytes }: StoredManifest, what: string): ImageManifest {
  const image = decodeImageManifest(bytes, what);
  if (image.layers[0]?.digest === parseTag(tag)?.id) return image;
  throw new NixcacheError('ERR_INDEX', `the first layer of ${what} is not the entries blob that its tag names`);
}

export async function fetchSegmentConfig(
  config: Descriptor,
  what: string,
  { store, signal }: SegmentRecordOptions,
): Promise<SegmentConfig> {
  const bytes = await readBlob(store, config, { maxBytes: MAX_SEGMENT_CONFIG_BYTES, what, code: 'ERR_INDEX', signal });
  return decodeSegmentConfig(bytes, `config of ${what}`);
}

/** By its tag; or by its digest, when the tag is gone or not yet seen, and the manifest is there. */
async function fetchSegmentManifest(
  tag: string,
  view: Pick<CacheView, 'descriptors'> | undefined,
  { store, signal }: SegmentRecordOptions,
): Promise<{ readonly manifest: StoredManifest; readonly isTagged: boolean } | undefined> {
  const byTag = await store.fetchManifest(tag, { signal });
  if (byTag) return { manifest: byTag, isTagged: true };
  const digest = view?.descriptors.get(tag)?.digest;
  const byDigest = digest && (await store.fetchManifest(digest, { signal }));
  return byDigest && { manifest: byDigest, isTagged: false };
}

/** A checkpoint that lists a segment vouches for it; `cache-index` does not. */
const isStale = (tag: string, view: CacheView): boolean => !view.tags.has(tag) && !view.vouched.has(tag);
