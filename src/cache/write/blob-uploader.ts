/**
 * Puts bytes into a store: small ones into packs, large ones as blobs, parts out of the spool. At most the open pack and
 * two closed ones are held in memory.
 */

import { randomBytes } from 'node:crypto';
import pLimit from 'p-limit';
import { wholeBlob } from '../../cache-index/entry.ts';
import type { Extent } from '../../cache-index/extent.ts';
import * as mediaTypes from '../../cache-index/media-types.ts';
import type { CallOptions } from '../../call-options.ts';
import type { NarPart } from '../../nar/part-writer.ts';
import { bytesContent } from '../../oci/bytes-content.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import { type Descriptor, describe } from '../../oci/descriptor.ts';
import { CONCURRENT_UPLOADS } from './limits.ts';
import { type ClosedPack, MAX_PACK_BYTES, PackBuilder, type PackedExtent, toExtent } from './pack.ts';
import type { Spool } from './spool.ts';

/** Where bytes lie: known now, or once the pack that holds them is closed. */
export type Place = PackedExtent | { readonly extents: readonly Extent[]; readonly blobs: readonly Descriptor[] };

export interface BlobUploaderOptions extends CallOptions {
  readonly store: ContentStore;
  /** Needed for parts only. */
  readonly spool?: Spool | undefined;
  /** Bytes sent, or found to be there. */
  readonly onUploaded?: ((bytes: number, existed: boolean) => void) | undefined;
  /**
   * Chance bytes before each piece in a pack: without them a pack may become the very one that lies damaged, which then is
   * not replaced.
   */
  readonly isSalted?: boolean | undefined;
}

/** Closed packs held in memory until they are sent; beyond, reading waits. */
const MAX_PACKS_SENDING = 2;
const SALT_BYTES = 16;

export class BlobUploader {
  readonly #options: BlobUploaderOptions;
  readonly #limit = pLimit(CONCURRENT_UPLOADS);
  /** Packs do not wait for large blobs that do not end: what lies in them is to be kept when a run ends early. */
  readonly #packLimit = pLimit(MAX_PACKS_SENDING + 1);
  readonly #pack = new PackBuilder();
  readonly #closed = new Map<string, Promise<ClosedPack>>();
  /** Uploads of packs that are under way, or have failed. */
  readonly #sending = new Set<Promise<ClosedPack>>();

  constructor(options: BlobUploaderOptions) {
    this.#options = options;
  }

  /** Waits while more closed packs are on their way than memory is meant for. */
  async ready(): Promise<void> {
    if (this.#sending.size > MAX_PACKS_SENDING) await Promise.all(this.#sending);
  }

  /** Puts up to `maxPackedBytes` into the open pack, more into a blob of type `mediaType`. */
  async put(bytes: Uint8Array, mediaType: string, maxPackedBytes: number = MAX_PACK_BYTES): Promise<Place> {
    if (bytes.length <= maxPackedBytes) {
      const salt = this.#options.isSalted ? randomBytes(SALT_BYTES) : Buffer.alloc(0);
      // Exactly, for whoever plans packs counts without salt.
      if (this.#pack.isFullFor(salt.length + bytes.length)) this.#closePack();
      if (salt.length > 0) this.#pack.add(salt);
      return this.#pack.add(bytes);
    }
    const descriptor = describe(mediaType, bytes);
    await this.#push(descriptor, bytes);
    return { extents: [wholeBlob(descriptor.digest, descriptor.size)], blobs: [descriptor] };
  }

  /** Takes the parts of one compressed NAR out of the spool; they are gone from there afterwards. */
  async putParts(parts: readonly NarPart[]): Promise<Place> {
    const { spool, store, signal, onUploaded } = this.#options;
    if (!spool) throw new Error('a NAR in parts needs a spool');
    const mediaType = parts.length === 1 ? mediaTypes.NAR : mediaTypes.PART;
    const outcomes = await Promise.allSettled(
      parts.map((part) =>
        this.#limit(async () => {
          const result = await spool.send(part, mediaType, store, { signal });
          onUploaded?.(part.size, result === 'existed');
        }),
      ),
    );
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    return {
      extents: parts.map(({ digest, size }) => wholeBlob(digest, size)),
      blobs: parts.map(({ digest, size }) => ({ mediaType, digest, size })),
    };
  }

  /** Closes the open pack, whose upload starts, and returns once every pack closed so far is stored. */
  async flush(): Promise<void> {
    this.#closePack();
    await Promise.all(this.#sending);
  }

  /** Extents and blobs of what lies at `place`; what is in a pack must have been flushed. */
  async resolve(place: Place): Promise<Exclude<Place, PackedExtent>> {
    if (!('pack' in place)) return place;
    const closed = await this.#closed.get(place.pack);
    if (!closed) throw new Error(`pack ${place.pack} was never closed`);
    return { extents: [toExtent(place, closed)], blobs: [closed.descriptor] };
  }

  #closePack(): void {
    if (this.#pack.isEmpty) return;
    const { pack, descriptor, bytes } = this.#pack.close();
    const upload = this.#push(descriptor, bytes, this.#packLimit).then(() => ({ pack, descriptor }));
    this.#sending.add(upload);
    // A failed one stays: flush, which awaits it, reports it.
    upload.then(
      () => this.#sending.delete(upload),
      () => undefined,
    );
    this.#closed.set(pack, upload);
  }

  async #push(descriptor: Descriptor, bytes: Uint8Array, limit = this.#limit): Promise<void> {
    const { store, onUploaded, signal } = this.#options;
    const content = bytesContent(bytes);
    const result = await limit(() => store.pushBlob(descriptor, content, { signal, isHashed: true }));
    onUploaded?.(descriptor.size, result === 'existed');
  }
}

/** What a place will be among the layers of a segment. */
export const layersOf = (place: Place): readonly string[] =>
  'pack' in place ? [place.pack] : place.blobs.map(({ digest }) => digest);
