/**
 * The entries of a cache in columns: how large each is, and what it refers to. Some 100 bytes an entry, read once, for
 * sums, closures and the question what needs what.
 */
import type { Entry } from '../cache-index/entry.ts';
import { STORE_HASH_BYTES } from '../cache-index/entry-table.ts';
import { decode, encode } from '../nix/nixbase32.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import { Column } from './column.ts';
import { HashInterner } from './hash-interner.ts';

export interface Sizes {
  readonly paths: number;
  /** Bytes of the NARs. */
  readonly narBytes: number;
  /** Bytes of the compressed NARs. */
  readonly fileBytes: number;
}

export interface ClosureSizes extends Sizes {
  /** Store hashes that something refers to and that are not in the cache: upstream has them, or nobody. */
  readonly missing: readonly HashPart[];
  /** How many of `missing` a publisher left out on purpose. */
  readonly leftOut: number;
}

/** The sources of path number `n` are `sources[starts[n]]` up to but without `sources[starts[n + 1]]`. */
interface Inverted {
  readonly starts: Uint32Array;
  readonly sources: Uint32Array;
}

export class EntryGraph {
  readonly #paths = new HashInterner(STORE_HASH_BYTES);
  readonly #rowPath = new Column(Uint32Array);
  readonly #narBytes = new Column(Float64Array);
  readonly #fileBytes = new Column(Float64Array);
  readonly #firstReference = new Column(Uint32Array);
  readonly #references = new Column(Uint32Array);
  /** Entries by the names of the keys that signed them; a path signed twice counts for both. */
  readonly #signers = new Map<string, number>();
  /** References that a publisher left out; they may be there by now. */
  readonly #leftOut = new Set<HashPart>();
  #unsigned = 0;
  #rowOf: Uint32Array | undefined;
  #dependents: Inverted | undefined;

  static of(entries: Iterable<{ readonly entry: Entry }>): EntryGraph {
    const graph = new EntryGraph();
    for (const { entry } of entries) graph.#add(entry);
    return graph;
  }

  get total(): Sizes {
    let narBytes = 0;
    let fileBytes = 0;
    for (let row = 0; row < this.#rowPath.length; row++) {
      narBytes += this.#narBytes.at(row);
      fileBytes += this.#fileBytes.at(row);
    }
    return { paths: this.#rowPath.length, narBytes, fileBytes };
  }

  /** Names of keys with the number of entries that each signed; verified by nobody. */
  get signers(): ReadonlyMap<string, number> {
    return this.#signers;
  }

  /** Entries without any signature. */
  get unsigned(): number {
    return this.#unsigned;
  }

  /** What the closure of `start` takes, as far as it is in the cache. */
  closureOf(start: readonly HashPart[]): ClosureSizes {
    const missing: HashPart[] = [];
    let paths = 0;
    let narBytes = 0;
    let fileBytes = 0;
    const numbers = start.map((hashPart) => ({ hashPart, path: this.#find(hashPart) }));
    for (const { hashPart, path } of numbers) if (path === undefined) missing.push(hashPart);
    const seen = new Uint8Array(this.#paths.size);
    const open = numbers.flatMap(({ path }) => path ?? []);
    for (const path of open) seen[path] = 1;
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      const row = this.#row(path);
      if (row === undefined) {
        missing.push(this.#hashPart(path));
        continue;
      }
      paths++;
      narBytes += this.#narBytes.at(row);
      fileBytes += this.#fileBytes.at(row);
      for (const reference of this.#referencesOf(row)) {
        if (seen[reference] === 1) continue;
        seen[reference] = 1;
        open.push(reference);
      }
    }
    const leftOut = missing.filter((hashPart) => this.#leftOut.has(hashPart)).length;
    return { paths, narBytes, fileBytes, missing: missing.sort(), leftOut };
  }

  /** Entries that refer to `hashPart`, itself left out. */
  dependentsOf(hashPart: HashPart): HashPart[] {
    const path = this.#find(hashPart);
    return path === undefined ? [] : [...this.#dependentsOf(path)].map((each) => this.#hashPart(each));
  }

  /** All whose closure holds `hashPart`, itself included. */
  needing(hashPart: HashPart): ReadonlySet<HashPart> {
    const start = this.#find(hashPart);
    const reached = new Set<number>();
    const open = start === undefined ? [] : [start];
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      if (reached.has(path)) continue;
      reached.add(path);
      for (const dependent of this.#dependentsOf(path)) open.push(dependent);
    }
    return new Set([...reached].map((each) => this.#hashPart(each)));
  }

  /** Path numbers of entries that refer to a path number, itself left out. */
  #dependentsOf(path: number): Uint32Array {
    this.#dependents ??= this.#invert();
    const { starts, sources } = this.#dependents;
    return sources.subarray(starts[path], starts[path + 1]);
  }

  /** All references backwards, grouped by what they refer to. */
  #invert(): Inverted {
    const starts = new Uint32Array(this.#paths.size + 1);
    for (const { target } of this.#edges()) starts[target + 1] = (starts[target + 1] ?? 0) + 1;
    for (let i = 1; i < starts.length; i++) starts[i] = (starts[i] ?? 0) + (starts[i - 1] ?? 0);
    const next = starts.slice();
    const sources = new Uint32Array(starts.at(-1) ?? 0);
    for (const { source, target } of this.#edges()) {
      const at = next[target] ?? 0;
      sources[at] = source;
      next[target] = at + 1;
    }
    return { starts, sources };
  }

  *#edges(): Generator<{ readonly source: number; readonly target: number }> {
    for (let row = 0; row < this.#rowPath.length; row++) {
      const source = this.#rowPath.at(row);
      for (const target of this.#referencesOf(row)) if (target !== source) yield { source, target };
    }
  }

  *#referencesOf(row: number): Generator<number> {
    const end = row + 1 < this.#rowPath.length ? this.#firstReference.at(row + 1) : this.#references.length;
    for (let i = this.#firstReference.at(row); i < end; i++) yield this.#references.at(i);
  }

  #add({ narInfo, leftOut = [] }: Entry): void {
    for (const reference of leftOut) this.#leftOut.add(hashPartOf(reference));
    this.#rowPath.push(this.#paths.intern(decode(hashPartOf(narInfo.path))));
    this.#narBytes.push(narInfo.narSize);
    this.#fileBytes.push(narInfo.fileSize);
    this.#firstReference.push(this.#references.length);
    for (const reference of narInfo.references) {
      this.#references.push(this.#paths.intern(decode(hashPartOf(reference))));
    }
    const names = new Set(narInfo.sigs.map((sig) => sig.slice(0, sig.indexOf(':'))));
    for (const name of names) this.#signers.set(name, (this.#signers.get(name) ?? 0) + 1);
    if (names.size === 0) this.#unsigned++;
  }

  #find(hashPart: HashPart): number | undefined {
    return this.#paths.find(decode(hashPart));
  }

  #hashPart(path: number): HashPart {
    return encode(this.#paths.hashOf(path)) as HashPart;
  }

  /** The row of a path number; undefined for what is only referred to. */
  #row(path: number): number | undefined {
    if (!this.#rowOf) {
      this.#rowOf = new Uint32Array(this.#paths.size);
      for (let row = 0; row < this.#rowPath.length; row++) this.#rowOf[this.#rowPath.at(row)] = row + 1;
    }
    const row = this.#rowOf[path] ?? 0;
    return row === 0 ? undefined : row - 1;
  }
}
