/** The bytes of an entry as checkNar reads them. */

import { Readable } from 'node:stream';
import { openNar } from '../cache/read/nar-source.ts';
import { digestOfFile, type Entry } from '../cache-index/entry.ts';
import { type Extent, totalLength } from '../cache-index/extent.ts';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import { MAX_LISTING_BYTES } from '../nix/nar-info.ts';
import type { BlobFetcher } from '../oci/content-store.ts';
import { type Digest, digestOf } from '../oci/digest.ts';
import { untilIntact } from '../oci/read-blob.ts';
import { readBounded } from '../streams/verify.ts';
import type { NarSource } from './check-nar.ts';

/** What lies in `pack`, all of whose bytes are at hand. */
export function narInPack(entry: Entry, pack: Buffer): NarSource {
  const piece = (extents: readonly Extent[], digest: Digest): Buffer => {
    const bytes = Buffer.concat(extents.map(({ offset, length }) => pack.subarray(offset, offset + length)));
    if (digestOf(bytes) === digest) return bytes;
    throw new NixcacheError('ERR_DIGEST_MISMATCH', `what lies in its place has the digest ${digestOf(bytes)}`);
  };
  return {
    open: async () => Readable.from([piece(entry.nar, digestOfFile(entry.narInfo.fileHash))], { objectMode: false }),
    fetchListing: async () => entry.listing && piece(entry.listing.extents, entry.listing.digest),
  };
}

/** What lies wherever the entry says. */
export function narInStore(entry: Entry, { store, signal }: CallOptions & { readonly store: BlobFetcher }): NarSource {
  return {
    open: () => openNar(store, entry, { signal }),
    fetchListing: async () => {
      if (!entry.listing) return undefined;
      const { digest, extents } = entry.listing;
      if (totalLength(extents) > MAX_LISTING_BYTES) throw new NixcacheError('ERR_FORMAT', 'it is too long');
      return untilIntact(async () => {
        const pieces: Buffer[] = [];
        for (const extent of extents) {
          const range = { offset: extent.offset, length: extent.length };
          const stream = await store.fetchBlob({ digest: extent.digest }, { range, signal });
          pieces.push(await readBounded(stream, extent.length, `listing of ${entry.narInfo.path}`));
        }
        const bytes = Buffer.concat(pieces);
        if (digestOf(bytes) === digest) return bytes;
        throw new NixcacheError('ERR_DIGEST_MISMATCH', `it has the digest ${digestOf(bytes)}`);
      });
    },
  };
}
