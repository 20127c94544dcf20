/** Puts the bytes of one path on their way into a store. */
import { narUrl } from '../../cache-index/entry.ts';
import * as mediaTypes from '../../cache-index/media-types.ts';
import { digestOf } from '../../oci/digest.ts';
import { type BlobUploader, layersOf } from './blob-uploader.ts';
import type { PendingEntry, TakenPath } from './incoming.ts';
import { MAX_PACKED_BYTES } from './pack.ts';

/** @param again takes the path again, when the store has lost its bytes */
export async function stage(
  {
    narInfo: { extra: _foreign, ...info },
    nar: { bytes, parts = [], listing, fileHash, fileSize, pieces },
    leftOut,
    realisations,
  }: TakenPath,
  uploader: BlobUploader,
  again: () => Promise<PendingEntry>,
): Promise<PendingEntry> {
  const nar = bytes ? await uploader.put(bytes, mediaTypes.NAR, MAX_PACKED_BYTES) : await uploader.putParts(parts);
  const listed = listing && (await uploader.put(listing, mediaTypes.LISTING));
  const narInfo = { ...info, url: narUrl(fileHash, info.compression), fileHash, fileSize };
  const digest = listing && digestOf(listing); // not the bytes themselves, which would be kept
  return {
    narInfo,
    layers: [...layersOf(nar), ...(listed ? layersOf(listed) : [])],
    resolve: async () => {
      const [narAt, listedAt] = await Promise.all([uploader.resolve(nar), listed && uploader.resolve(listed)]);
      const entry = {
        narInfo,
        nar: narAt.extents,
        ...{ leftOut, realisations },
        ...(digest && listedAt && { listing: { digest, extents: listedAt.extents } }),
        ...(pieces && { pieces: { pieceBytes: pieces.pieceBytes, digests: pieces.digests } }),
      };
      return { entry, blobs: [...narAt.blobs, ...(listedAt?.blobs ?? [])] };
    },
    again,
  };
}
