/**
 * A cache in columns, to be listed, searched and drawn: each entry once, numbered in the order in which they are first seen,
 * with what its newest form says, and the references of all its forms, which are what gc goes by. Some 180 bytes an entry.
 */
import type { Entry } from '../cache-index/entry.ts';
import { STORE_HASH_BYTES } from '../cache-index/entry-table.ts';
import { decode, encode } from '../nix/nixbase32.ts';
import { HASH_PART_LENGTH, type HashPart, hashPartOf, nameOf } from '../nix/store-path.ts';
import { Column } from './column.ts';
import type { Sizes } from './entry-graph.ts';
import { HashInterner } from './hash-interner.ts';
import { NameList } from './name-list.ts';

/** Bits of a number. Of a cache signed by more keys the others are not counted. */
const MAX_SIGNERS = 31;
const BITS_A_CHARACTER = 5;

export class Inventory {
  readonly names = new NameList();
  readonly #paths = new HashInterner(STORE_HASH_BYTES);
  /** By path number: 1 + its entry; 0 for what is only referred to. */
  readonly #entryOf = new Column(Uint32Array);
  // By entry.
  readonly #path = new Column(Uint32Array);
  readonly #narBytes = new Column(Float64Array);
  readonly #fileBytes = new Column(Float64Array);
  readonly #asserted = new Column(Float64Array);
  readonly #signedBy = new Column(Uint32Array);
  readonly #newestRow = new Column(Uint32Array);
  // By row: an entry as one segment has it.
  readonly #rowEntry = new Column(Uint32Array);
  /** 1 + the row before of the same entry. */
  readonly #rowBefore = new Column(Uint32Array);
  readonly #firstReference = new Column(Uint32Array);
  /** Path numbers. */
  readonly #references = new Column(Uint32Array);
  readonly #signers: string[] = [];

  /** Adds an entry as a segment has it that is newer than all before. `asserted` is in Unix seconds. */
  add({ narInfo }: Entry, asserted: number): void {
    const path = this.#intern(hashPartOf(narInfo.path));
    const row = this.#rowEntry.length;
    let entry = this.#entryOf.at(path) - 1;
    if (entry < 0) {
      entry = this.#path.length;
      this.#entryOf.set(path, entry + 1);
      this.#path.push(path);
      this.names.add(nameOf(narInfo.path));
      for (const column of [this.#narBytes, this.#fileBytes, this.#asserted, this.#signedBy]) column.push(0);
      this.#newestRow.push(row);
      this.#rowBefore.push(0);
    } else {
      this.#rowBefore.push(this.#newestRow.at(entry) + 1);
      this.#newestRow.set(entry, row);
    }
    this.#rowEntry.push(entry);
    this.#narBytes.set(entry, narInfo.narSize);
    this.#fileBytes.set(entry, narInfo.fileSize);
    this.#asserted.set(entry, Math.max(asserted, this.#asserted.at(entry)));
    this.#signedBy.set(entry, this.#signerBits(narInfo.sigs));
    this.#firstReference.push(this.#references.length);
    for (const reference of narInfo.references) {
      const target = this.#intern(hashPartOf(reference));
      if (target !== path) this.#references.push(target);
    }
  }

  /** Entries. */
  get count(): number {
    return this.#path.length;
  }

  /** Entries as segments have them: those that several have are counted as often. */
  get rowCount(): number {
    return this.#rowEntry.length;
  }

  /** Store paths seen, also those only referred to. */
  get pathCount(): number {
    return this.#paths.size;
  }

  narBytesOf = (entry: number): number => this.#narBytes.at(entry);
  /** Bytes of the compressed NAR. */
  fileBytesOf = (entry: number): number => this.#fileBytes.at(entry);
  /** Unix seconds: when any segment last asserted it. */
  assertedOf = (entry: number): number => this.#asserted.at(entry);
  newestRowOf = (entry: number): number => this.#newestRow.at(entry);
  entryOfRow = (row: number): number => this.#rowEntry.at(row);

  hashPartOf(entry: number): HashPart {
    return encode(this.#paths.hashOf(this.#path.at(entry))) as HashPart;
  }

  /** The entry with this hash part. */
  find(hashPart: HashPart): number | undefined {
    const path = this.#paths.find(decode(hashPart));
    return path === undefined ? undefined : this.entryOfPath(path);
  }

  /** The entry of a path number; undefined for what is not in the cache. */
  entryOfPath(path: number): number | undefined {
    const entry = this.#entryOf.at(path);
    return entry === 0 ? undefined : entry - 1;
  }

  /** The hash part that has this path number. */
  hashPartOfPath(path: number): HashPart {
    return encode(this.#paths.hashOf(path)) as HashPart;
  }

  /** Path numbers that a row refers to, itself left out. */
  *referencesOfRow(row: number): Generator<number> {
    const end = row + 1 < this.rowCount ? this.#firstReference.at(row + 1) : this.#references.length;
    for (let i = this.#firstReference.at(row); i < end; i++) yield this.#references.at(i);
  }

  /** Rows of an entry, newest first. */
  *rowsOf(entry: number): Generator<number> {
    for (let row = this.#newestRow.at(entry) + 1; row !== 0; row = this.#rowBefore.at(row - 1)) yield row - 1;
  }

  /** Entries that refer to `entry`: whose newest forms do. */
  *dependentsOf(entry: number): Generator<number> {
    const path = this.#path.at(entry);
    for (let at = this.#references.indexOf(path, 0); at >= 0; at = this.#references.indexOf(path, at + 1)) {
      const row = this.#rowAt(at);
      const dependent = this.#rowEntry.at(row);
      if (this.#newestRow.at(dependent) === row) yield dependent;
    }
  }

  /** Entries whose hash part begins with `prefix`, which is nix base-32; undefined for each other one. */
  *withPrefix(prefix: string): Generator<number | undefined> {
    const wanted = decode(prefix.padEnd(HASH_PART_LENGTH, '0'));
    const bits = prefix.length * BITS_A_CHARACTER;
    // The first characters hold the last bits.
    const whole = bits >> 3;
    const mask = (0xff << (8 - (bits & 7))) & 0xff;
    for (let entry = 0; entry < this.count; entry++) {
      const hash = this.#paths.hashOf(this.#path.at(entry));
      let i = STORE_HASH_BYTES - 1;
      while (i >= STORE_HASH_BYTES - whole && hash[i] === wanted[i]) i--;
      const isAlike = mask === 0 || (((hash[i] ?? 0) ^ (wanted[i] ?? 0)) & mask) === 0;
      yield i < STORE_HASH_BYTES - whole && isAlike ? entry : undefined;
    }
  }

  get total(): Sizes {
    let narBytes = 0;
    let fileBytes = 0;
    for (let entry = 0; entry < this.count; entry++) {
      narBytes += this.#narBytes.at(entry);
      fileBytes += this.#fileBytes.at(entry);
    }
    return { paths: this.count, narBytes, fileBytes };
  }

  /** Names of keys, each with the number of entries that bear its signature, which nobody verified; most first. */
  get signers(): readonly { readonly keyName: string; readonly entries: number }[] {
    const counts = this.#signers.map((keyName) => ({ keyName, entries: 0 }));
    for (let entry = 0; entry < this.count; entry++) {
      const bits = this.#signedBy.at(entry);
      for (const [bit, count] of counts.entries()) if ((bits & (1 << bit)) !== 0) count.entries++;
    }
    return counts.filter(({ entries }) => entries > 0).sort((a, b) => b.entries - a.entries);
  }

  #intern(hashPart: HashPart): number {
    const path = this.#paths.intern(decode(hashPart));
    if (path === this.#entryOf.length) this.#entryOf.push(0);
    return path;
  }

  /** The row whose references the place `at` is among. */
  #rowAt(at: number): number {
    let low = 0;
    let high = this.rowCount - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#firstReference.at(middle) <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #signerBits(sigs: readonly string[]): number {
    let bits = 0;
    for (const sig of sigs) {
      const keyName = sig.slice(0, sig.indexOf(':'));
      let bit = this.#signers.indexOf(keyName);
      if (bit < 0 && this.#signers.length < MAX_SIGNERS) bit = this.#signers.push(keyName) - 1;
      if (bit >= 0) bits |= 1 << bit;
    }
    return bits;
  }
}
