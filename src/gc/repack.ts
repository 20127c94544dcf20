/** Writes the live pieces of sparse packs into new packs. */

import { BlobUploader, type Place } from '../cache/write/blob-uploader.ts';
import { MAX_HELD_PACK_BYTES } from '../cache/write/pack.ts';
import { digestOfFile, type Entry } from '../cache-index/entry.ts';
import type { Extent } from '../cache-index/extent.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { CallOptions } from '../call-options.ts';
import type { PieceKind } from '../census/census.ts';
import { NixcacheError } from '../errors.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, digestOf } from '../oci/digest.ts';
import { readBlob } from '../oci/read-blob.ts';
import type { PlannedPack } from './partition.ts';

/** Where a piece lies now. */
export interface MovedTo {
  readonly extents: readonly Extent[];
  readonly blobs: readonly Descriptor[];
}

export interface RepackOptions extends CallOptions {
  readonly store: ContentStore;
  readonly entryAt: (row: number) => Entry;
  /** The descriptor of an old pack; undefined for another blob, whose size is then not known. */
  readonly packOf: (digest: Digest) => Descriptor | undefined;
}

/**
 * Reads, checks and stores the pieces of `planned`; where they lie, in their order. Holds one old and one new pack in memory.
 *
 * @throws {NixcacheError} ERR_INDEX when a piece is not what its entry says, ERR_NOT_FOUND when the old pack is gone
 */
export async function writePack(planned: PlannedPack, options: RepackOptions): Promise<MovedTo[]> {
  const open = packSource(options);
  const uploader = new BlobUploader(options);
  const places: Place[] = [];
  for (const { row, kind } of planned.pieces) {
    const entry = options.entryAt(row);
    const { digest, extents } = pieceOf(entry, kind);
    const slices: Buffer[] = [];
    for (const extent of extents) slices.push(await open(extent));
    const bytes = Buffer.concat(slices);
    if (digestOf(bytes) !== digest) {
      throw new NixcacheError(
        'ERR_INDEX',
        `gc stopped before it dropped anything: the ${kind} of ${entry.narInfo.path} is not what its entry says; run nixcache verify --repair`,
      );
    }
    places.push(await uploader.put(bytes, mediaTypes.PACK, Number.POSITIVE_INFINITY));
  }
  await uploader.flush();
  return Promise.all(places.map((place) => uploader.resolve(place)));
}

function pieceOf(entry: Entry, kind: PieceKind): { readonly digest: Digest; readonly extents: readonly Extent[] } {
  if (kind === 'nar') return { digest: digestOfFile(entry.narInfo.fileHash), extents: entry.nar };
  if (!entry.listing) throw new Error(`${entry.narInfo.path} has no listing`);
  return entry.listing;
}

/** Whole packs, one at a time: pieces come grouped by pack, and one request is cheaper than hundreds of ranges. */
function packSource({ store, packOf, signal }: RepackOptions): (extent: Extent) => Promise<Buffer> {
  let held: { readonly digest: Digest; readonly bytes: Buffer } | undefined;
  return async ({ digest, offset, length }) => {
    if (held?.digest !== digest) {
      held = undefined;
      const pack = packOf(digest) ?? { digest };
      const bytes = await readBlob(store, pack, { maxBytes: MAX_HELD_PACK_BYTES, what: `pack ${digest}`, signal });
      held = { digest, bytes };
    }
    return held.bytes.subarray(offset, offset + length);
  };
}
