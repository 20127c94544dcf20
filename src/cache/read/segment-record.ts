/** What a segment says beside its entries: its layers, and the roots, pins and keys in its config. */

import {
  decodeSegmentConfig,
  MAX_CONFIG_BYTES,
  type SegmentConfig,
  segmentDescriptor,
} from '../../cache-index/segment.ts';
import { parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import type { ReadOnlyStore, StoredManifest } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { decodeImageManifest } from '../../oci/manifest.ts';
import { readBounded } from '../../streams/verify.ts';
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
  const what = `segment ${tag} of ${options.store.name}`;
  const manifest = await fetchSegmentManifest(tag, view, options);
  if (!manifest) {
    if (isStale(tag, view)) return undefined;
    throw new NixcacheError('ERR_NOT_FOUND', `${what} has no manifest`);
  }
  const { layers, config } = decodeImageManifest(manifest.bytes, what);
  const [entries] = layers;
  if (entries?.digest !== parseTag(tag)?.id) {
    throw new NixcacheError('ERR_INDEX', `the first layer of ${what} is not the entries blob that its tag names`);
  }
  return {
    tag,
    descriptor: segmentDescriptor(manifest.descriptor, tag, entries?.size),
    layers,
    config: await fetchSegmentConfig(config, what, options),
  };
}

export async function fetchSegmentConfig(
  config: Descriptor,
  what: string,
  { store, signal }: SegmentRecordOptions,
): Promise<SegmentConfig> {
  const bytes = await readBounded(await store.fetchBlob(config, { signal }), MAX_CONFIG_BYTES, what);
  return decodeSegmentConfig(bytes, `config of ${what}`);
}

/** By its tag; or by its digest, when something removed the tag and left the manifest. */
async function fetchSegmentManifest(
  tag: string,
  view: CacheView,
  { store, signal }: SegmentRecordOptions,
): Promise<StoredManifest | undefined> {
  const byTag = await store.fetchManifest(tag, { signal });
  const digest = view.descriptors.get(tag)?.digest;
  return byTag ?? (digest && store.fetchManifest(digest, { signal }));
}

/** A checkpoint that lists a segment vouches for it; `cache-index` does not. */
const isStale = (tag: string, view: CacheView): boolean =>
  !view.tags.has(tag) && !view.live.checkpoints.some((name) => view.checkpoints.get(name)?.segments.includes(tag));
