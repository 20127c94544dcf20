/**
 * Reads a cache of whichever layout it is, now and after it was converted: what the tags say, and what an older index at
 * `cache-index` says beside them. Where both have an entry, ours counts.
 */

import type { Readable } from 'node:stream';
import type { Entry } from '../../cache-index/entry.ts';
import type { CallOptions } from '../../call-options.ts';
import type { NixHash } from '../../nix/hash.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import type { CacheReader, CacheStatus, NarFile, RefreshResult } from './cache-reader.ts';
import { IndexReader, type IndexReaderOptions } from './index-reader.ts';
import { LegacyReader } from './legacy-reader.ts';

/** A reader for the cache in `options.store`; it asks nothing until it is refreshed. */
export async function openReader(options: Omit<IndexReaderOptions, 'besideLegacy'>): Promise<EitherReader> {
  return new EitherReader(await IndexReader.open({ ...options, besideLegacy: true }), new LegacyReader(options));
}

export class EitherReader implements CacheReader {
  readonly name: string;
  /** What is of our own layout. */
  readonly index: IndexReader;
  /** What is of the older one. */
  readonly legacy: LegacyReader;
  /** Entries that only the older index has. */
  #legacyEntries = 0;

  constructor(index: IndexReader, legacy: LegacyReader) {
    this.name = index.name;
    this.index = index;
    this.legacy = legacy;
  }

  get storeDir(): string {
    return this.index.status().entries > 0 ? this.index.storeDir : this.legacy.storeDir;
  }

  findNarInfoText(hashPart: HashPart): string | undefined {
    return this.index.findNarInfoText(hashPart) ?? this.legacy.findNarInfoText(hashPart);
  }

  findEntry(hashPart: HashPart): Entry | undefined {
    return this.index.findEntry(hashPart) ?? this.legacy.findEntry(hashPart);
  }

  /** Whether there is an entry, without reading it. */
  has(hashPart: HashPart): boolean {
    return this.index.has(hashPart) || this.legacy.has(hashPart);
  }

  /** Every entry once, in no order, with when it was last asserted, in Unix seconds. */
  *entries(): Generator<{ readonly entry: Entry; readonly asserted: number }> {
    yield* this.index.entries();
    for (const entry of this.legacy.entries()) {
      if (!this.index.has(hashPartOf(entry.narInfo.path))) yield { entry, asserted: entry.asserted ?? 0 };
    }
  }

  findNarFile(fileHash: NixHash): NarFile | undefined {
    return this.index.findNarFile(fileHash) ?? this.legacy.findNarFile(fileHash);
  }

  openNar(entry: Entry, options: CallOptions & { readonly range?: ByteRange | undefined } = {}): Promise<Readable> {
    return this.index.openNar(entry, options);
  }

  fetchListing(entry: Entry, options: CallOptions = {}): Promise<Buffer | undefined> {
    return this.index.fetchListing(entry, options);
  }

  async fetchPublicKeys(): Promise<readonly string[]> {
    return [...new Set([...(await this.index.fetchPublicKeys()), ...(await this.legacy.fetchPublicKeys())])];
  }

  async refresh(options: CallOptions = {}): Promise<RefreshResult> {
    // The older index first: were it read last, a conversion that ends in between would hide its entries.
    const legacy = await this.legacy.refresh(options);
    const index = await this.index.refresh(options);
    const changed = legacy.changed || index.changed;
    if (changed) this.#legacyEntries = this.#countLegacy();
    return { ...index, changed, bytes: legacy.bytes + index.bytes };
  }

  status(): CacheStatus {
    const index = this.index.status();
    const legacy = this.legacy.status();
    return {
      ...index,
      entries: index.entries + this.#legacyEntries,
      generation: index.generation + legacy.generation,
      lastError: index.lastError ?? legacy.lastError,
    };
  }

  close(): void {
    this.index.close();
    this.legacy.close();
  }

  #countLegacy(): number {
    if (this.index.status().entries === 0) return this.legacy.status().entries;
    let count = 0;
    for (const entry of this.legacy.entries()) if (!this.index.has(hashPartOf(entry.narInfo.path))) count++;
    return count;
  }
}
