/** NARs of a binary cache on their way into a store: fetched, checked, put into packs and blobs, made into entries. */

import pLimit from 'p-limit';
import { BlobUploader, type Place } from '../cache/write/blob-uploader.ts';
import type { BackedEntry, PendingEntry } from '../cache/write/segment-writer.ts';
import { narUrl } from '../cache-index/entry.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { SecretKey } from '../nix/signature.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, digestOf } from '../oci/digest.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { type TakenNar, takeNar } from './nar-intake.ts';
import { signaturesOf } from './signing.ts';

export interface NarTransferOptions extends CallOptions {
  readonly source: Pick<Upstream, 'openFile' | 'name'>;
  readonly destination: ContentStore;
  readonly spoolDirectory: string;
  readonly keys: readonly SecretKey[];
  readonly onUploaded: (bytes: number, existed: boolean) => void;
}

export interface TransferredNar extends PendingEntry {
  /** Bytes of the compressed NAR. */
  readonly fileSize: number;
}

/** Uploads at once: a registry's patience, and enough to hide 50 ms of latency. */
const CONCURRENT_UPLOADS = 8;

export class NarTransfer {
  readonly #options: NarTransferOptions;
  readonly #blobs: BlobUploader;

  constructor(options: NarTransferOptions) {
    const { destination: store, onUploaded, signal } = options;
    this.#options = options;
    this.#blobs = new BlobUploader({ store, onUploaded, signal, uploadLimit: pLimit(CONCURRENT_UPLOADS) });
  }

  /** The entry of `narInfo`, its bytes on their way; or why that path cannot be copied. */
  async take(narInfo: NarInfo): Promise<TransferredNar | string> {
    this.#options.signal?.throwIfAborted();
    await this.#blobs.ready();
    try {
      return await this.#put(narInfo, await takeNar(narInfo, this.#options));
    } catch (error) {
      if (isNixcacheError(error, 'ERR_NAR_MISMATCH')) return messageOf(error);
      throw error;
    }
  }

  /** Sends what is still to be packed; what was taken before can be resolved then. */
  flush(): Promise<void> {
    return this.#blobs.flush();
  }

  async #put(narInfo: NarInfo, taken: TakenNar): Promise<TransferredNar> {
    const own: Descriptor[] = [];
    const nar = taken.bytes
      ? await this.#blobs.put(taken.bytes, mediaTypes.NAR, own)
      : await this.#blobs.putParts(taken.parts ?? [], own);
    const listing = await this.#blobs.put(taken.listing, mediaTypes.LISTING, own);
    const { fileHash, fileSize } = taken;
    const facts = { fileHash, fileSize, listingDigest: digestOf(taken.listing) }; // not the bytes, which would be kept
    return {
      fileSize,
      layers: own.map(({ digest }) => digest),
      resolve: () => this.#resolve(narInfo, facts, { nar, listing, own }),
    };
  }

  async #resolve(
    { extra: _foreign, ...narInfo }: NarInfo,
    { fileHash, fileSize, listingDigest }: Pick<TakenNar, 'fileHash' | 'fileSize'> & { readonly listingDigest: Digest },
    places: { readonly nar: Place; readonly listing: Place; readonly own: readonly Descriptor[] },
  ): Promise<BackedEntry> {
    const nar = await this.#blobs.resolve(places.nar);
    const listed = await this.#blobs.resolve(places.listing);
    const url = narUrl(fileHash, narInfo.compression);
    const sigs = signaturesOf(narInfo, this.#options.keys);
    return {
      entry: {
        narInfo: { ...narInfo, url, fileHash, fileSize, sigs },
        nar: nar.extents,
        listing: { digest: listingDigest, extents: listed.extents },
      },
      blobs: [...places.own, nar.pack, listed.pack].filter((blob) => blob !== undefined),
    };
  }
}
