/**
 * The blobs behind an entry, with size and media type: an entry names packs by digest alone. What a segment's layers say
 * is looked up once a segment, and only packs are remembered: the size of any other blob follows from its extent.
 */

import { readError } from '../cache/read/problem.ts';
import { fetchSegmentRecord } from '../cache/read/segment-record.ts';
import type { CacheView } from '../cache/read/view.ts';
import { digestOfFile, type Entry, extentsOf } from '../cache-index/entry.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';

export interface BlobFinderOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly view: CacheView;
}

export class BlobFinder {
  readonly #options: BlobFinderOptions;
  readonly #packs = new Map<Digest, Descriptor>();
  readonly #read = new Set<string>();

  constructor(options: BlobFinderOptions) {
    this.#options = options;
  }

  /**
   * The blobs that hold `entry`, each once; `tag` is the segment that lists it, if one does.
   *
   * @throws {NixcacheError} ERR_INDEX when the segment does not hold what its entry needs
   */
  async find(entry: Entry, tag: string | undefined): Promise<readonly Descriptor[]> {
    const found = new Map<Digest, Descriptor>();
    for (const own of ownBlobs(entry)) found.set(own.digest, own);
    const packed = extentsOf(entry).filter(({ digest }) => !found.has(digest));
    for (const { digest } of packed) {
      if (tag !== undefined && !this.#packs.has(digest)) await this.#readSegment(tag);
      const pack = this.#packs.get(digest);
      if (!pack) {
        throw new NixcacheError(
          'ERR_INDEX',
          `segment ${tag} of ${this.#options.store.name} does not hold ${digest}, which ${entry.narInfo.path} needs; run nixcache verify`,
        );
      }
      found.set(digest, pack);
    }
    return [...found.values()];
  }

  async #readSegment(tag: string): Promise<void> {
    if (this.#read.has(tag)) return;
    const { store, view, signal } = this.#options;
    try {
      const record = await fetchSegmentRecord(tag, view, { store, signal });
      for (const { mediaType, digest, size } of record?.layers ?? []) {
        const isOther = mediaType === mediaTypes.NAR || mediaType === mediaTypes.PART;
        if (!isOther) this.#packs.set(digest, { mediaType, digest, size });
      }
    } catch (error) {
      throw readError(error, `segment ${tag} of ${store.name}`);
    }
    this.#read.add(tag);
  }
}

/** Blobs that hold nothing but the NAR, whole or in parts. */
function ownBlobs({ narInfo, nar }: Entry): Descriptor[] {
  const [first, ...more] = nar;
  if (first && more.length === 0 && first.digest !== digestOfFile(narInfo.fileHash)) return []; // in a pack
  const mediaType = more.length === 0 ? mediaTypes.NAR : mediaTypes.PART;
  return nar.map(({ digest, length }) => ({ mediaType, digest, size: length }));
}
