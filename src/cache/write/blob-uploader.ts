/**
 * Puts bytes that are being published into a store: small ones into packs, large ones as blobs, finished files as parts.
 * At most the open pack and two closed ones are held in memory.
 */

import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { LimitFunction } from 'p-limit';
import { wholeBlob } from '../../cache-index/entry.ts';
import type { Extent } from '../../cache-index/extent.ts';
import * as mediaTypes from '../../cache-index/media-types.ts';
import type { CallOptions } from '../../call-options.ts';
import type { NarPart } from '../../nar/part-writer.ts';
import { bytesContent } from '../../oci/bytes-content.ts';
import { type ContentStore, canAdoptFiles } from '../../oci/content-store.ts';
import { type Descriptor, describe } from '../../oci/descriptor.ts';
import { type ClosedPack, MAX_PACK_BYTES, PackBuilder, type PackedExtent, toExtent } from './pack.ts';

/** Where bytes lie: known now, or once the pack that holds them is closed. */
export type Place = PackedExtent | readonly Extent[];

export interface BlobUploaderOptions extends CallOptions {
  readonly store: ContentStore;
  readonly uploadLimit: LimitFunction;
  /** Bytes sent, or found to be there. */
  readonly onUploaded: (bytes: number, existed: boolean) => void;
}

/** Closed packs held in memory until they are sent; beyond, reading waits. */
const MAX_PACKS_SENDING = 2;
const READ_CHUNK_BYTES = 256 * 1024;

export class BlobUploader {
  readonly #options: BlobUploaderOptions;
  readonly #pack = new PackBuilder();
  readonly #closed = new Map<string, Promise<ClosedPack>>();
  #sending = 0;

  constructor(options: BlobUploaderOptions) {
    this.#options = options;
  }

  /** Waits while more closed packs are on their way than memory is meant for. */
  async ready(): Promise<void> {
    if (this.#sending > MAX_PACKS_SENDING) await Promise.all(this.#closed.values());
  }

  /** Puts up to `maxPackedBytes` into the open pack, more into a blob of type `mediaType`, which is added to `own`. */
  async put(
    bytes: Uint8Array,
    mediaType: string,
    own: Descriptor[],
    maxPackedBytes: number = MAX_PACK_BYTES,
  ): Promise<Place> {
    if (bytes.length <= maxPackedBytes) {
      if (this.#pack.isFullFor(bytes.length)) this.#closePack();
      return this.#pack.add(bytes);
    }
    const { uploadLimit, store, onUploaded, signal } = this.#options;
    const descriptor = describe(mediaType, bytes);
    const result = await uploadLimit(() => store.pushBlob(descriptor, bytesContent(bytes), { signal }));
    onUploaded(descriptor.size, result === 'existed');
    own.push(descriptor);
    return [wholeBlob(descriptor.digest, descriptor.size)];
  }

  /** Takes over the files of one compressed NAR; they are gone afterwards. Their blobs are added to `own`. */
  async putParts(parts: readonly NarPart[], own: Descriptor[]): Promise<Place> {
    const mediaType = parts.length === 1 ? mediaTypes.NAR : mediaTypes.PART;
    const { uploadLimit } = this.#options;
    const outcomes = await Promise.allSettled(parts.map((part) => uploadLimit(() => this.#putPart(part, mediaType))));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    own.push(...parts.map(({ digest, size }) => ({ mediaType, digest, size })));
    return parts.map(({ digest, size }) => wholeBlob(digest, size));
  }

  /** Closes the open pack, whose upload starts, and returns once every pack closed so far is stored. */
  async flush(): Promise<void> {
    this.#closePack();
    await Promise.all(this.#closed.values());
  }

  /** Extents and pack of what lies at `place`; what is in a pack must have been flushed. */
  async resolve(place: Place): Promise<{ readonly extents: readonly Extent[]; readonly pack?: Descriptor }> {
    if (!('pack' in place)) return { extents: place };
    const closed = await this.#closed.get(place.pack);
    if (!closed) throw new Error(`pack ${place.pack} was never closed`);
    return { extents: [toExtent(place, closed)], pack: closed.descriptor };
  }

  #closePack(): void {
    if (this.#pack.isEmpty) return;
    const { uploadLimit, store, onUploaded, signal } = this.#options;
    const closed = this.#pack.close();
    const { descriptor, bytes } = closed;
    this.#sending++;
    const upload = uploadLimit(async () => {
      const result = await store.pushBlob(descriptor, bytesContent(bytes), { signal });
      onUploaded(descriptor.size, result === 'existed');
      this.#sending--;
      return { ...closed, bytes: Buffer.alloc(0) }; // sent: nobody needs them any more
    });
    upload.catch(() => undefined); // reported by flush, which awaits it
    this.#closed.set(closed.pack, upload);
  }

  async #putPart({ file, digest, size }: NarPart, mediaType: string): Promise<void> {
    const { store, onUploaded, signal } = this.#options;
    const descriptor = { mediaType, digest, size };
    try {
      signal?.throwIfAborted();
      const result = canAdoptFiles(store)
        ? await store.adoptFile(descriptor, file, { signal })
        : await store.pushBlob(descriptor, () => createReadStream(file, { highWaterMark: READ_CHUNK_BYTES }), {
            signal,
          });
      onUploaded(size, result === 'existed');
    } finally {
      await rm(file, { force: true });
    }
  }
}
