/**
 * Which entry text holds a store hash or a file hash: open-addressing tables over typed arrays, some 60 bytes an entry
 * and no object per entry, so that a million entries cost about 60 MB.
 *
 * Rows are added a segment at a time, oldest segment first; of several rows with one key the last added wins.
 */
import { decode } from '../nix/nixbase32.ts';
import type { HashPart } from '../nix/store-path.ts';
import { slotHash } from './slot-hash.ts';

/** Bytes of a store hash; the table keeps it whole, so that a lookup needs no text. */
export const STORE_HASH_BYTES = 20;
/** Leading bytes of a file hash that the table keeps: chance collisions at a million entries are 1 in 10⁷, and the text decides. */
export const FILE_KEY_BYTES = 8;

/** The rows of one segment, in columns, in the order of its entries text. */
export interface SegmentRows {
  readonly count: number;
  /** `count` × 20 bytes. */
  readonly storeHashes: Uint8Array;
  /** `count` × 8 bytes. */
  readonly fileKeys: Uint8Array;
  /** Byte offset of each entry in the entries text. */
  readonly offsets: Uint32Array;
  /** Byte length of each entry. */
  readonly lengths: Uint32Array;
  /** Undefined where there are none, as in nearly all segments. */
  readonly realisations?: RealisationRows | undefined;
}

/** The realisations of a segment's entries, in columns. */
export interface RealisationRows {
  /** 20 bytes each: the beginning of the SHA-256 of the id. */
  readonly keys: Uint8Array;
  /** Of each, the row of its entry. */
  readonly rows: Uint32Array;
}

export interface Row {
  /** Ordinal of the segment, as it was added. */
  readonly segment: number;
  /** Number of the row in its segment. */
  readonly row: number;
  readonly offset: number;
  readonly length: number;
}

/** At most 3 of 4 slots are taken, so that probe chains stay short. */
const MAX_LOAD = 0.75;

export class EntryTable {
  #rows = 0;
  #distinct = 0;
  #storeHashes = new Uint8Array(0);
  #fileKeys = new Uint8Array(0);
  #segments = new Uint32Array(0);
  #offsets = new Uint32Array(0);
  #lengths = new Uint32Array(0);
  #byStore = new Uint32Array(16);
  #byFile = new Uint32Array(16);
  /** Of each segment, its first row. */
  readonly #starts: number[] = [];

  /** Builds a table of `segments`, oldest first. */
  static of(segments: readonly SegmentRows[]): EntryTable {
    const table = new EntryTable();
    table.#reserve(segments.reduce((sum, { count }) => sum + count, 0));
    for (const rows of segments) table.add(rows);
    return table;
  }

  /** Entries with different store hashes. */
  get size(): number {
    return this.#distinct;
  }

  /** Adds a segment newer than all before it; returns its ordinal. */
  add(rows: SegmentRows): number {
    const segment = this.#starts.length;
    this.#reserve(this.#rows + rows.count);
    const start = this.#rows;
    this.#starts.push(start);
    this.#storeHashes.set(rows.storeHashes, start * STORE_HASH_BYTES);
    this.#fileKeys.set(rows.fileKeys, start * FILE_KEY_BYTES);
    this.#offsets.set(rows.offsets, start);
    this.#lengths.set(rows.lengths, start);
    this.#segments.fill(segment, start, start + rows.count);
    this.#rows += rows.count;
    for (let row = start; row < this.#rows; row++) this.#insert(row);
    return segment;
  }

  /** The newest row with this store hash. */
  find(hashPart: HashPart): Row | undefined {
    return this.#row(probe(this.#byStore, this.#storeHashes, STORE_HASH_BYTES, decode(hashPart), 0));
  }

  /** The newest row whose file hash starts like `fileHash` (32 bytes); the entry's text decides whether it is the one. */
  findFile(fileHash: Uint8Array): Row | undefined {
    return this.#row(probe(this.#byFile, this.#fileKeys, FILE_KEY_BYTES, fileHash, 0));
  }

  /** The newest row of each store hash. */
  *rows(): Generator<Row> {
    for (const slot of this.#byStore) {
      const row = this.#row(slot);
      if (row) yield row;
    }
  }

  #row(slot: number): Row | undefined {
    if (slot === 0) return undefined;
    const row = slot - 1;
    const segment = this.#segments[row] ?? 0;
    return {
      segment,
      row: row - (this.#starts[segment] ?? 0),
      offset: this.#offsets[row] ?? 0,
      length: this.#lengths[row] ?? 0,
    };
  }

  #insert(row: number): void {
    if (put(this.#byStore, this.#storeHashes, STORE_HASH_BYTES, row)) this.#distinct++;
    put(this.#byFile, this.#fileKeys, FILE_KEY_BYTES, row);
  }

  #reserve(rows: number): void {
    if (rows > this.#offsets.length) {
      const capacity = Math.max(rows, Math.ceil(this.#offsets.length * 1.5), 16);
      this.#storeHashes = grown(this.#storeHashes, capacity * STORE_HASH_BYTES, Uint8Array);
      this.#fileKeys = grown(this.#fileKeys, capacity * FILE_KEY_BYTES, Uint8Array);
      this.#segments = grown(this.#segments, capacity, Uint32Array);
      this.#offsets = grown(this.#offsets, capacity, Uint32Array);
      this.#lengths = grown(this.#lengths, capacity, Uint32Array);
    }
    if (rows > this.#byStore.length * MAX_LOAD) {
      const slots = 2 ** Math.ceil(Math.log2(rows / MAX_LOAD + 1));
      this.#byStore = new Uint32Array(slots);
      this.#byFile = new Uint32Array(slots);
      this.#distinct = 0;
      for (let row = 0; row < this.#rows; row++) this.#insert(row);
    }
  }
}

function grown<T extends Uint8Array | Uint32Array>(old: T, length: number, Type: new (length: number) => T): T {
  const array = new Type(length);
  array.set(old);
  return array;
}

function same(keys: Uint8Array, at: number, key: Uint8Array, from: number, width: number): boolean {
  for (let i = 0; i < width; i++) if (keys[at + i] !== key[from + i]) return false;
  return true;
}

/** The slot value (row + 1) that holds the key, or 0. */
function probe(slots: Uint32Array, keys: Uint8Array, width: number, key: Uint8Array, from: number): number {
  const mask = slots.length - 1;
  for (let i = slotHash(key, from, width) & mask; ; i = (i + 1) & mask) {
    const slot = slots[i] ?? 0;
    if (slot === 0 || same(keys, (slot - 1) * width, key, from, width)) return slot;
  }
}

/** Points the key of `row` at it; whether the key is new. */
function put(slots: Uint32Array, keys: Uint8Array, width: number, row: number): boolean {
  const mask = slots.length - 1;
  for (let i = slotHash(keys, row * width, width) & mask; ; i = (i + 1) & mask) {
    const slot = slots[i] ?? 0;
    if (slot !== 0 && !same(keys, (slot - 1) * width, keys, row * width, width)) continue;
    slots[i] = row + 1;
    return slot === 0;
  }
}
