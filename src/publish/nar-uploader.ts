/** One path at a time from the local store into the content store, as a blob, as parts, or into the open pack. */

import type { LimitFunction } from 'p-limit';
import { BlobUploader, type Place } from '../cache/write/blob-uploader.ts';
import { MAX_PACKED_BYTES } from '../cache/write/pack.ts';
import { narUrl } from '../cache-index/entry.ts';
import type { Extent } from '../cache-index/extent.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { CallOptions } from '../call-options.ts';
import type { Compression, NarRunner } from '../nar/nar-job.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { type ContentStore, canAdoptFiles } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, digestOf } from '../oci/digest.ts';

/** 256 MiB: a retry costs one part, and at 10 Mbit/s it is through in 4 of GHCR's 10 minutes. */
export const PART_BYTES = 256 * 1024 * 1024;
/** Below the layers of a manifest on every registry; larger NARs get larger parts. */
const MAX_PARTS = 300;

/** A path whose bytes are on their way; extents in packs are known when the pack is closed. */
export interface StagedPath {
  readonly info: PathInfo;
  readonly narInfo: NarInfo & Required<Pick<NarInfo, 'fileHash' | 'fileSize'>>;
  readonly nar: Place;
  readonly listing: { readonly digest: Digest; readonly at: Place };
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
  readonly pool: NarRunner;
  readonly spoolDirectory: string;
  readonly compression: Compression;
  readonly contentPath: (info: PathInfo) => string;
  readonly uploadLimit: LimitFunction;
  readonly events: UploadEvents;
}

/**
 * 512 KiB: compressed NARs up to this size go to a registry from memory; a dozen are under way at most. A file would be
 * written, read and streamed piece by piece. A layout wants the file.
 */
const MAX_HELD_BYTES = 512 * 1024;

export class NarUploader {
  readonly #options: NarUploaderOptions;
  readonly #blobs: BlobUploader;

  constructor(options: NarUploaderOptions) {
    this.#options = options;
    this.#blobs = new BlobUploader({ ...options, onUploaded: options.events.onUploaded });
  }

  /**
   * Reads, checks, compresses and uploads `info`.
   *
   * @throws {NixcacheError} ERR_NAR_MISMATCH and ERR_IO when the path is at fault; else the content store's errors
   */
  async stage(info: PathInfo): Promise<StagedPath> {
    const { store, pool, spoolDirectory, compression, contentPath, events, signal } = this.#options;
    signal?.throwIfAborted();
    const result = await pool.run(
      {
        contentPath: contentPath(info),
        storePath: info.path,
        narHash: info.narHash,
        narSize: info.narSize,
        compression,
        spoolDirectory,
        maxInlineBytes: canAdoptFiles(store) ? MAX_PACKED_BYTES : MAX_HELD_BYTES,
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
    await this.#blobs.ready();
    const own: Descriptor[] = [];
    const nar = result.bytes
      ? await this.#blobs.put(result.bytes, mediaTypes.NAR, own, MAX_PACKED_BYTES)
      : await this.#blobs.putParts(result.parts ?? [], own);
    const at = await this.#blobs.put(result.listing, mediaTypes.LISTING, own);
    return { info, narInfo, nar, listing: { digest: digestOf(result.listing), at }, blobs: own };
  }

  /** Closes the open pack, whose upload starts, and returns once every pack closed so far is stored. */
  flush(): Promise<void> {
    return this.#blobs.flush();
  }

  /** Extents and blob of what lies in a pack; the pack must have been flushed. */
  resolve(at: Place): Promise<{ readonly extents: readonly Extent[]; readonly pack?: Descriptor }> {
    return this.#blobs.resolve(at);
  }
}
