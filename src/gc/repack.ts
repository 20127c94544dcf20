/** Writes the live pieces of sparse packs into new packs. */

import { digestOfFile, type Entry } from '../cache-index/entry.ts';
import type { Extent } from '../cache-index/extent.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { CallOptions } from '../call-options.ts';
import type { PieceKind } from '../census/census.ts';
import { NixcacheError } from '../errors.ts';
import { bytesContent } from '../oci/bytes-content.ts';
import type { BlobFetcher, BlobPusher } from '../oci/content-store.ts';
import { type Descriptor, describe } from '../oci/descriptor.ts';
import { type Digest, digestOf } from '../oci/digest.ts';
import { readBounded } from '../streams/verify.ts';
import type { PlannedPack } from './partition.ts';

export interface WrittenPack {
  readonly descriptor: Descriptor;
  /** Where its pieces lie, in their order. */
  readonly extents: readonly Extent[];
}

export interface RepackOptions extends CallOptions {
  readonly store: BlobFetcher & BlobPusher;
  readonly entryAt: (row: number) => Entry;
  /** The descriptor of an old pack; undefined for another blob, whose size is then not known. */
  readonly packOf: (digest: Digest) => Descriptor | undefined;
}

/**
 * Reads, checks and stores the pieces of `planned`. Holds one old and one new pack in memory.
 *
 * @throws {NixcacheError} ERR_INDEX when a piece is not what its entry says, ERR_NOT_FOUND when the old pack is gone
 */
export async function writePack(planned: PlannedPack, options: RepackOptions): Promise<WrittenPack> {
  const open = packSource(options);
  const pieces: Buffer[] = [];
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
    pieces.push(bytes);
  }
  const bytes = Buffer.concat(pieces);
  const descriptor = describe(mediaTypes.PACK, bytes);
  await options.store.pushBlob(descriptor, bytesContent(bytes), { signal: options.signal });
  let offset = 0;
  const extents = pieces.map(({ length }) => {
    const extent = { digest: descriptor.digest, offset, length };
    offset += length;
    return extent;
  });
  return { descriptor, extents };
}

function pieceOf(entry: Entry, kind: PieceKind): { readonly digest: Digest; readonly extents: readonly Extent[] } {
  if (kind === 'nar') return { digest: digestOfFile(entry.narInfo.fileHash), extents: entry.nar };
  if (!entry.listing) throw new Error(`${entry.narInfo.path} has no listing`);
  return entry.listing;
}

/** 64 MiB: larger packs are not rewritten. */
const MAX_BLOB_BYTES = 64 * 1024 * 1024;

/** Whole packs, one at a time: pieces come grouped by pack, and one request is cheaper than hundreds of ranges. */
function packSource({ store, packOf, signal }: RepackOptions): (extent: Extent) => Promise<Buffer> {
  let held: { readonly digest: Digest; readonly bytes: Buffer } | undefined;
  return async ({ digest, offset, length }) => {
    if (held?.digest !== digest) {
      held = undefined;
      const pack = packOf(digest) ?? { digest };
      const stream = await store.fetchBlob(pack, { signal });
      held = { digest, bytes: await readBounded(stream, MAX_BLOB_BYTES, `pack ${digest}`) };
    }
    return held.bytes.subarray(offset, offset + length);
  };
}
