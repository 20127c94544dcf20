/**
 * What a cache holds, in columns: every entry of every live segment (a row each), what they refer to, and in which blobs
 * their bytes lie. Some 250 bytes an entry, so that a million fit in memory several times over.
 *
 * Rows are in order of segments, oldest first. Several rows may be of one store path: published again, or compacted by
 * two gcs at once.
 */
import { type Entry, extentsOf } from '../cache-index/entry.ts';
import { STORE_HASH_BYTES } from '../cache-index/entry-table.ts';
import type { Extent } from '../cache-index/extent.ts';
import { PACK } from '../cache-index/media-types.ts';
import { NixcacheError } from '../errors.ts';
import { decode, encode } from '../nix/nixbase32.ts';
import { fingerprint } from '../nix/signature.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, digestFromHex, digestOf, hexOf } from '../oci/digest.ts';
import { Column } from './column.ts';
import { HashInterner } from './hash-interner.ts';

export interface CensusRow {
  readonly entry: Entry;
  /** Unix seconds. */
  readonly asserted: number;
}

export interface CensusSegment {
  readonly tag: string;
  /** Its rows, from `start` up to but without `end`. */
  readonly start: number;
  readonly end: number;
  readonly layers: number;
  /** Blob numbers. */
  readonly packs: readonly number[];
}

/** The two things of an entry that have bytes. */
export type PieceKind = 'nar' | 'listing';

const DIGEST_BYTES = 32;
/** Bits of a number. A cache signed by more keys is read a little slower. */
const MAX_SIGNERS = 31;

export class Census {
  readonly #segments: CensusSegment[] = [];
  readonly #paths = new HashInterner(STORE_HASH_BYTES);
  readonly #blobs = new HashInterner(DIGEST_BYTES);
  readonly #mediaTypes: string[] = [];
  readonly #mediaTypeNumbers = new Map<string, number>();

  readonly #blobSize = new Column(Float64Array);
  readonly #blobType = new Column(Uint32Array);
  /** 1 + the segment that last named the blob as a layer. */
  readonly #blobSegment = new Column(Uint32Array);

  readonly #rowPath = new Column(Uint32Array);
  readonly #rowSegment = new Column(Uint32Array);
  readonly #rowAsserted = new Column(Float64Array);
  readonly #rowBytes = new Column(Float64Array);
  readonly #rowForm = new Column(Float64Array);
  /** Bits of the keys that a signature names, by their place in `#signers`. */
  readonly #rowSigners = new Column(Uint32Array);
  readonly #signers: string[] = [];
  readonly #rowReferences = new Column(Uint32Array);
  readonly #rowExtents = new Column(Uint32Array);
  readonly #rowNarExtents = new Column(Uint32Array);
  readonly #references = new Column(Uint32Array);
  readonly #extentBlob = new Column(Uint32Array);
  readonly #extentBytes = new Column(Float64Array);

  get segments(): readonly CensusSegment[] {
    return this.#segments;
  }

  get rowCount(): number {
    return this.#rowPath.length;
  }

  /** Store paths seen, also those only referred to. */
  get pathCount(): number {
    return this.#paths.size;
  }

  get blobCount(): number {
    return this.#blobs.size;
  }

  /**
   * Adds a segment newer than all before it.
   *
   * @param layers all of its manifest's
   * @throws {NixcacheError} ERR_INDEX when its layers do not hold what its entries need
   */
  addSegment(tag: string, layers: readonly Descriptor[], rows: Iterable<CensusRow>): void {
    const segment = this.#segments.length;
    const packs = new Set<number>();
    for (const layer of layers) {
      const blob = this.#internBlob(layer);
      this.#blobSegment.set(blob, segment + 1);
      if (layer.mediaType === PACK) packs.add(blob);
    }
    const start = this.rowCount;
    for (const row of rows) this.#addRow(row, segment, tag);
    this.#segments.push({ tag, start, end: this.rowCount, layers: layers.length, packs: [...packs] });
  }

  pathOf = (row: number): number => this.#rowPath.at(row);
  segmentOf = (row: number): number => this.#rowSegment.at(row);
  /** Unix seconds. */
  assertedOf = (row: number): number => this.#rowAsserted.at(row);
  /** What the entry says of the path, and who signed that, as a number: differs where that does. */
  formOf = (row: number): number => this.#rowForm.at(row);
  /** Bytes of the compressed NAR. */
  bytesOf = (row: number): number => this.#rowBytes.at(row);

  /** Names of the keys of which each of `rows` bears a signature, verified by nobody. */
  signersOf(rows: Iterable<number>): readonly string[] {
    let all = -1;
    for (const row of rows) all &= this.#rowSigners.at(row);
    return this.#signers.filter((_, bit) => all & (1 << bit));
  }

  /** `row` counts as asserted at `seconds`, if it was not later. */
  raiseAsserted(row: number, seconds: number): void {
    if (seconds > this.assertedOf(row)) this.#rowAsserted.set(row, seconds);
  }

  /** Path numbers that `row` refers to, in the cache or not. */
  *referencesOf(row: number): Generator<number> {
    const end = row + 1 < this.rowCount ? this.#rowReferences.at(row + 1) : this.#references.length;
    for (let i = this.#rowReferences.at(row); i < end; i++) yield this.#references.at(i);
  }

  /** Where the bytes of `row` lie. */
  *extentsOf(row: number): Generator<{ readonly blob: number; readonly bytes: number; readonly kind: PieceKind }> {
    const start = this.#rowExtents.at(row);
    const end = row + 1 < this.rowCount ? this.#rowExtents.at(row + 1) : this.#extentBlob.length;
    const nar = start + this.#rowNarExtents.at(row);
    for (let i = start; i < end; i++) {
      yield { blob: this.#extentBlob.at(i), bytes: this.#extentBytes.at(i), kind: i < nar ? 'nar' : 'listing' };
    }
  }

  /** The number of a store path, or undefined if nothing names it. */
  findPath(hashPart: HashPart): number | undefined {
    return this.#paths.find(decode(hashPart));
  }

  hashPartOf(path: number): HashPart {
    // Through a buffer: the text that `encode` adds up is a tree of some 1 KB until somebody compares it.
    return Buffer.from(encode(this.#paths.hashOf(path)), 'latin1').toString('latin1') as HashPart;
  }

  /** Orders path numbers like the text of their hash parts, whose first character holds the last bits. */
  comparePaths(a: number, b: number): number {
    const x = this.#paths.hashOf(a);
    const y = this.#paths.hashOf(b);
    for (let i = STORE_HASH_BYTES - 1; i >= 0; i--) {
      const difference = (x[i] ?? 0) - (y[i] ?? 0);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  /** The number of a blob, or undefined if no segment names it. */
  findBlob(digest: Digest): number | undefined {
    return this.#blobs.find(digestBytes(digest));
  }

  blob(blob: number): Descriptor {
    const digest = digestFromHex(Buffer.from(this.#blobs.hashOf(blob)).toString('hex'));
    const mediaType = this.#mediaTypes[this.#blobType.at(blob)] ?? '';
    return { mediaType, digest, size: this.#blobSize.at(blob) };
  }

  #addRow({ entry, asserted }: CensusRow, segment: number, tag: string): void {
    const { narInfo, nar } = entry;
    const path = this.#paths.intern(decode(hashPartOf(narInfo.path)));
    this.#rowPath.push(path);
    this.#rowSegment.push(segment);
    this.#rowAsserted.push(asserted);
    this.#rowBytes.push(narInfo.fileSize);
    this.#rowForm.push(formNumber(narInfo));
    this.#rowSigners.push(this.#signerBits(narInfo.sigs));
    this.#rowReferences.push(this.#references.length);
    for (const reference of narInfo.references) {
      const target = this.#paths.intern(decode(hashPartOf(reference)));
      if (target !== path) this.#references.push(target);
    }
    this.#rowExtents.push(this.#extentBlob.length);
    this.#rowNarExtents.push(nar.length);
    for (const extent of extentsOf(entry)) {
      this.#extentBlob.push(this.#layerOf(extent, segment, tag, narInfo.path));
      this.#extentBytes.push(extent.length);
    }
  }

  #signerBits(sigs: readonly string[]): number {
    let bits = 0;
    for (const sig of sigs) {
      const name = sig.slice(0, sig.indexOf(':'));
      let bit = this.#signers.indexOf(name);
      if (bit < 0 && this.#signers.length < MAX_SIGNERS) bit = this.#signers.push(name) - 1;
      if (bit >= 0) bits |= 1 << bit;
    }
    return bits;
  }

  #layerOf({ digest, offset, length }: Extent, segment: number, tag: string, path: string): number {
    const blob = this.#blobs.find(digestBytes(digest));
    if (blob === undefined || this.#blobSegment.at(blob) !== segment + 1) {
      // Going on would write the entry into a manifest that does not keep its bytes alive, or drop the one that does.
      throw new NixcacheError(
        'ERR_INDEX',
        `segment ${tag} does not hold ${digest}, which ${path} needs: nothing was changed; run nixcache verify`,
      );
    }
    if (offset + length > this.#blobSize.at(blob)) {
      throw new NixcacheError(
        'ERR_INDEX',
        `segment ${tag}: ${path} lies outside ${digest}: nothing was changed; run nixcache verify`,
      );
    }
    return blob;
  }

  #internBlob({ digest, size, mediaType }: Descriptor): number {
    const blob = this.#blobs.intern(digestBytes(digest));
    if (blob < this.#blobSize.length) return blob;
    const type = this.#mediaTypeNumbers.get(mediaType) ?? this.#mediaTypes.push(mediaType) - 1;
    this.#mediaTypeNumbers.set(mediaType, type);
    this.#blobSize.push(size);
    this.#blobType.push(type);
    this.#blobSegment.push(0);
    return blob;
  }
}

/** 48 bits of a hash: enough where chance is all there is, and a forger would have to hit one that is there. Never 0. */
const formNumber = (narInfo: CensusRow['entry']['narInfo']): number =>
  1 +
  Number.parseInt(hexOf(digestOf(Buffer.from([fingerprint(narInfo), ...narInfo.sigs].join('\n')))).slice(0, 12), 16);

const digestBytes = (digest: Digest): Uint8Array => Buffer.from(hexOf(digest), 'hex');
