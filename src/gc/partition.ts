/** Divides entries into segments by store hash, and the live pieces of sparse packs into new packs. Pure. */
import { MAX_SEGMENT_ENTRIES } from '../cache/write/limits.ts';
import { MAX_PACK_BYTES } from '../cache/write/pack.ts';
import type { Census, PieceKind } from '../census/census.ts';

/** A piece of a sparse pack that goes into a new pack. */
interface MovedPiece {
  /** Row in the census. */
  readonly row: number;
  readonly kind: PieceKind;
  readonly bytes: number;
}

export interface PlannedPack {
  readonly pieces: readonly MovedPiece[];
  readonly bytes: number;
}

export interface PlannedSegment {
  /** Rows in the census, by store hash. */
  readonly rows: readonly number[];
  readonly layers: number;
}

/** New packs for what `rows` have in `sparse` packs; pieces of one old pack stay together. */
export function planPacks(census: Census, rows: readonly number[], sparse: ReadonlySet<number>): PlannedPack[] {
  const pieces: (MovedPiece & { readonly pack: number })[] = [];
  for (const row of rows) {
    const bytes = { nar: 0, listing: 0 };
    const packOf: { nar?: number; listing?: number } = {};
    for (const extent of census.extentsOf(row)) {
      bytes[extent.kind] += extent.bytes;
      if (sparse.has(extent.blob)) packOf[extent.kind] ??= extent.blob;
    }
    for (const kind of ['nar', 'listing'] as const) {
      const pack = packOf[kind];
      if (pack !== undefined) pieces.push({ row, kind, bytes: bytes[kind], pack });
    }
  }
  pieces.sort((a, b) => a.pack - b.pack); // stable: within a pack by row
  const packs: { pieces: MovedPiece[]; bytes: number }[] = [];
  for (const { row, kind, bytes } of pieces) {
    let open = packs.at(-1);
    if (!open || open.bytes + bytes > MAX_PACK_BYTES) {
      open = { pieces: [], bytes: 0 };
      packs.push(open);
    }
    open.pieces.push({ row, kind, bytes });
    open.bytes += bytes;
  }
  return packs;
}

/** Key of a piece among the moved ones. */
export const pieceKey = (row: number, kind: PieceKind): string => `${row} ${kind}`;

/**
 * Segments of about equal size for `rows`, at most `maxLayers` layers each.
 *
 * @param packOf the new pack of each moved piece, by `pieceKey`
 */
export function partition(
  census: Census,
  rows: readonly number[],
  packOf: ReadonlyMap<string, number>,
  maxLayers: number,
): PlannedSegment[] {
  const sorted = rows.toSorted((a, b) => census.comparePaths(census.pathOf(a), census.pathOf(b)));
  const target = Math.ceil(sorted.length / Math.ceil(sorted.length / MAX_SEGMENT_ENTRIES));
  const room = maxLayers - 1; // one for the entries blob
  const segments: PlannedSegment[] = [];
  let taken: number[] = [];
  let blobs = new Set<number>();
  const close = (): void => {
    if (taken.length > 0) segments.push({ rows: taken, layers: blobs.size + 1 });
    taken = [];
    blobs = new Set();
  };
  for (const row of sorted) {
    const own = blobsOf(census, row, packOf);
    const added = own.filter((blob) => !blobs.has(blob)).length;
    if (taken.length === target || (taken.length > 0 && blobs.size + added > room)) close();
    taken.push(row);
    for (const blob of own) blobs.add(blob);
  }
  close();
  return segments;
}

/** The blobs of a row, once each; new packs are counted on from the census' blobs. */
function blobsOf(census: Census, row: number, packOf: ReadonlyMap<string, number>): number[] {
  const blobs = new Set<number>();
  for (const { blob, kind } of census.extentsOf(row)) {
    const pack = packOf.size === 0 ? undefined : packOf.get(pieceKey(row, kind));
    blobs.add(pack === undefined ? blob : census.blobCount + pack);
  }
  return [...blobs];
}
