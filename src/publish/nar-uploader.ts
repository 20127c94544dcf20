/** One path at a time from the local store into the content store, as a blob, as parts, or into the open pack. */
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { LimitFunction } from 'p-limit';
import { narUrl, wholeBlob } from '../cache-index/entry.ts';
import type { Extent } from '../cache-index/extent.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { bytesContent } from '../oci/bytes-content.ts';
import { type CallOptions, type ContentStore, canAdoptFiles } from '../oci/content-store.ts';
import { type Descriptor, describe } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Compression, NarPart } from './nar-job.ts';
import type { NarPool } from './nar-pool.ts';
import { type ClosedPack, MAX_PACK_BYTES, MAX_PACKED_BYTES, PackBuilder, type PackedExtent, toExtent } from './pack.ts';

/** 256 MiB: a retry costs one part, and at 10 Mbit/s it is through in 4 of GHCR's 10 minutes. */
export const PART_BYTES = 256 * 1024 * 1024;
/** Closed packs held in memory until they are sent; beyond, reading waits. */
const MAX_PACKS_SENDING = 2;
/** Below the layers of a manifest on every registry; larger NARs get larger parts. */
const MAX_PARTS = 300;
const READ_CHUNK_BYTES = 1024 * 1024;

/** A path whose bytes are on their way; extents in packs are known when the pack is closed. */
export interface StagedPath {
  readonly info: PathInfo;
  readonly narInfo: NarInfo & Required<Pick<NarInfo, 'fileHash' | 'fileSize'>>;
  readonly nar: PackedExtent | readonly Extent[];
  readonly listing: { readonly digest: Digest; readonly at: PackedExtent | readonly Extent[] };
  /** Blobs of its own, not packs. */
  readonly blobs: readonly Descriptor[];
}

export interface UploadEvents {
  /** Bytes of NARs read and compressed. */
  readonly onRead: (bytes: number) => void;
  /** Bytes sent, or found to be there. */
  readonly onUploaded: (bytes: number, existed: boolean) => void;
}

export interface NarUploaderOptions extends CallOptions {
  readonly store: ContentStore;
  readonly pool: NarPool;
  readonly spoolDirectory: string;
  readonly compression: Compression;
  readonly contentPath: (info: PathInfo) => string;
  readonly uploadLimit: LimitFunction;
  readonly events: UploadEvents;
}

export class NarUploader {
  readonly #options: NarUploaderOptions;
  readonly #pack = new PackBuilder();
  readonly #closed = new Map<string, Promise<ClosedPack>>();
  #sending = 0;

  constructor(options: NarUploaderOptions) {
    this.#options = options;
  }

  /**
   * Reads, checks, compresses and uploads `info`.
   *
   * @throws {NixcacheError} ERR_NAR_MISMATCH and ERR_IO when the path is at fault; else the content store's errors
   */
  async stage(info: PathInfo): Promise<StagedPath> {
    const { pool, spoolDirectory, compression, contentPath, events, signal } = this.#options;
    signal?.throwIfAborted();
    const result = await pool.run(
      {
        contentPath: contentPath(info),
        storePath: info.path,
        narHash: info.narHash,
        narSize: info.narSize,
        compression,
        spoolDirectory,
        maxInlineBytes: MAX_PACKED_BYTES,
        partBytes: Math.max(PART_BYTES, Math.ceil(info.narSize / MAX_PARTS)),
      },
      events.onRead,
    );
    const { fileHash, fileSize } = result;
    const narInfo = {
      ...info,
      url: narUrl(fileHash, compression.method),
      compression: compression.method,
      fileHash,
      fileSize,
    };
    if (this.#sending > MAX_PACKS_SENDING) await Promise.all(this.#closed.values());
    const listingDescriptor = describe(mediaTypes.LISTING, result.listing);
    const own: Descriptor[] = [];
    const nar = result.bytes ? this.#packed(result.bytes) : await this.#uploadParts(result.parts ?? [], own);
    const at =
      result.listing.length <= MAX_PACK_BYTES
        ? this.#packed(result.listing)
        : await this.#uploadBlob(listingDescriptor, result.listing, own);
    return { info, narInfo, nar, listing: { digest: listingDescriptor.digest, at }, blobs: own };
  }

  /** Closes the open pack, whose upload starts, and returns once every pack closed so far is stored. */
  async flush(): Promise<void> {
    this.#closePack();
    await Promise.all(this.#closed.values());
  }

  /** Extents and blob of what lies in a pack; the pack must have been flushed. */
  async resolve(at: PackedExtent | readonly Extent[]): Promise<{ extents: readonly Extent[]; pack?: Descriptor }> {
    if (!('pack' in at)) return { extents: at };
    const closed = await this.#closed.get(at.pack);
    if (!closed) throw new Error(`pack ${at.pack} was never closed`);
    return { extents: [toExtent(at, closed)], pack: closed.descriptor };
  }

  #packed(bytes: Uint8Array): PackedExtent {
    if (this.#pack.isFullFor(bytes.length)) this.#closePack();
    return this.#pack.add(bytes);
  }

  #closePack(): void {
    if (this.#pack.isEmpty) return;
    const { uploadLimit, store, events, signal } = this.#options;
    const closed = this.#pack.close();
    const { descriptor, bytes } = closed;
    this.#sending++;
    const upload = uploadLimit(async () => {
      const result = await store.pushBlob(descriptor, bytesContent(bytes), { signal });
      events.onUploaded(descriptor.size, result === 'existed');
      this.#sending--;
      return { ...closed, bytes: Buffer.alloc(0) }; // sent: 16 MiB that nobody needs any more
    });
    upload.catch(() => undefined); // reported by flush, which awaits it
    this.#closed.set(closed.pack, upload);
  }

  async #uploadBlob(descriptor: Descriptor, bytes: Uint8Array, own: Descriptor[]): Promise<readonly Extent[]> {
    const { uploadLimit, store, events, signal } = this.#options;
    const result = await uploadLimit(() => store.pushBlob(descriptor, bytesContent(bytes), { signal }));
    events.onUploaded(descriptor.size, result === 'existed');
    own.push(descriptor);
    return [wholeBlob(descriptor.digest, descriptor.size)];
  }

  async #uploadParts(parts: readonly NarPart[], own: Descriptor[]): Promise<readonly Extent[]> {
    const { uploadLimit } = this.#options;
    const mediaType = parts.length === 1 ? mediaTypes.NAR : mediaTypes.PART;
    const outcomes = await Promise.allSettled(
      parts.map((part) => uploadLimit(() => this.#uploadPart(part, mediaType))),
    );
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    own.push(...parts.map(({ digest, size }) => ({ mediaType, digest, size })));
    return parts.map(({ digest, size }) => wholeBlob(digest, size));
  }

  async #uploadPart({ file, digest, size }: NarPart, mediaType: string): Promise<void> {
    const { store, events, signal } = this.#options;
    const descriptor = { mediaType, digest, size };
    try {
      signal?.throwIfAborted();
      const result = canAdoptFiles(store)
        ? await store.adoptFile(descriptor, file, { signal })
        : await store.pushBlob(descriptor, () => createReadStream(file, { highWaterMark: READ_CHUNK_BYTES }), {
            signal,
          });
      events.onUploaded(size, result === 'existed');
    } finally {
      await rm(file, { force: true });
    }
  }
}
