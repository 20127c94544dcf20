/** Blobs that what is kept needs: which of them a deletion could harm, and whether they are still there. */

import pLimit from 'p-limit';
import { parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import type { Census } from '../census/census.ts';
import { isNixcacheError } from '../errors.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { decodeImageManifest } from '../oci/manifest.ts';
import type { UnneededManifest } from './deleter.ts';
import { pieceKey } from './partition.ts';
import type { GcPlan } from './plan.ts';

/** Blobs looked at for each batch: 32 HEADs, before and after it, beside some 25 deletions of a second each. */
const SAMPLE_SIZE = 32;
const CONCURRENT_REQUESTS = 16;

export class Survivors {
  readonly #store: ReadOnlyStore;
  readonly #census: Census;
  /** By blob number: 1 if something that is kept lies in it. */
  readonly #kept: Uint8Array;

  constructor(store: ReadOnlyStore, census: Census, plan: Pick<GcPlan, 'untouched' | 'outputs' | 'packs'>) {
    this.#store = store;
    this.#census = census;
    this.#kept = keptBlobs(census, plan);
  }

  /**
   * Survivors to watch while `unneeded` are deleted: those that the unneeded manifests name too, since those might go with
   * them; then any others.
   */
  async sample(unneeded: readonly UnneededManifest[], { signal }: CallOptions): Promise<readonly Descriptor[]> {
    const limit = pLimit(CONCURRENT_REQUESTS);
    const segments = unneeded.filter(({ tag }) => parseTag(tag)?.kind === 'segment');
    const layers = await Promise.all(segments.map((each) => limit(() => this.#layersOf(each, signal))));
    const shared = new Set(layers.flat().flatMap((digest) => this.#find(digest) ?? []));
    const chosen = spread([...shared], SAMPLE_SIZE);
    const others = this.#others(SAMPLE_SIZE - chosen.length, shared);
    return [...chosen, ...others].map((blob) => this.#census.blob(blob));
  }

  /** The first of `blobs` that is gone. */
  async findMissing(blobs: readonly Descriptor[], { signal }: CallOptions): Promise<Descriptor | undefined> {
    const limit = pLimit(CONCURRENT_REQUESTS);
    const there = await Promise.all(blobs.map((blob) => limit(() => this.#store.hasBlob(blob, { signal }))));
    return blobs[there.indexOf(false)];
  }

  /** Layers of a manifest that is about to go; none when it is gone already, or is not one of ours. */
  async #layersOf({ tag, digest }: UnneededManifest, signal: AbortSignal | undefined): Promise<readonly Digest[]> {
    const manifest = await this.#store.fetchManifest(digest, { signal });
    if (!manifest) return [];
    try {
      return decodeImageManifest(manifest.bytes, tag).layers.map((layer) => layer.digest);
    } catch (error) {
      if (isNixcacheError(error, 'ERR_INDEX')) return []; // what cannot be read shares nothing that we know of
      throw error;
    }
  }

  #find(digest: Digest): number | undefined {
    const blob = this.#census.findBlob(digest);
    return blob !== undefined && this.#kept[blob] === 1 ? blob : undefined;
  }

  /** At most `count` kept blobs beside `known`, from all over the cache. */
  #others(count: number, known: ReadonlySet<number>): readonly number[] {
    const others: number[] = [];
    this.#kept.forEach((kept, blob) => {
      if (kept === 1 && !known.has(blob)) others.push(blob);
    });
    return spread(others, count);
  }
}

/** Blobs of untouched segments and of those written anew; not the packs whose pieces were moved out of them. */
function keptBlobs(census: Census, { untouched, outputs, packs }: ConstructorParameters<typeof Survivors>[2]) {
  const kept = new Uint8Array(census.blobCount);
  const moved = new Set(packs.flatMap(({ pieces }) => pieces.map(({ row, kind }) => pieceKey(row, kind))));
  const keep = (row: number): void => {
    for (const { blob, kind } of census.extentsOf(row)) if (!moved.has(pieceKey(row, kind))) kept[blob] = 1;
  };
  const stay = new Set(untouched);
  for (const { tag, start, end } of census.segments) {
    if (stay.has(tag)) for (let row = start; row < end; row++) keep(row);
  }
  for (const { rows } of outputs) for (const row of rows) keep(row);
  return kept;
}

/** At most `count` of `items`, evenly spaced. */
function spread(items: readonly number[], count: number): readonly number[] {
  if (items.length <= count) return items;
  const step = items.length / count;
  return Array.from({ length: count }, (_, i) => items[Math.floor(i * step)] ?? 0);
}
