/** A cache of the older layout as readers see it: entries as one text in memory, keyed like those of our own segments. */

import type { Readable } from 'node:stream';
import { formatEntries } from '../../cache-index/entries-blob.ts';
import { clientText, type Entry, parseEntry } from '../../cache-index/entry.ts';
import { EntryTable, type Row } from '../../cache-index/entry-table.ts';
import type { Root } from '../../cache-index/records.ts';
import { scanEntries } from '../../cache-index/segment-rows.ts';
import { CACHE_INDEX_TAG } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf } from '../../errors.ts';
import { hashToBytes, type NixHash } from '../../nix/hash.ts';
import { DEFAULT_STORE_DIR, type HashPart } from '../../nix/store-path.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { Digest } from '../../oci/digest.ts';
import { IMAGE_MANIFEST } from '../../oci/manifest.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import type { CacheReader, CacheStatus, NarFile, RefreshResult } from './cache-reader.ts';
import { type DecodeOptions, fetchLegacyIndex, type LegacyIndex, rootRecords } from './legacy-index.ts';
import { legacyIndexOf } from './legacy-manifest.ts';
import { openNar } from './nar-source.ts';

export interface LegacyReaderOptions extends DecodeOptions {
  readonly store: ReadOnlyStore;
  readonly now?: (() => Date) | undefined;
}

interface Held {
  /** Of the manifest at `cache-index`. */
  readonly digest: Digest;
  readonly index: Omit<LegacyIndex, 'entries'>;
  readonly text: Buffer;
  readonly table: EntryTable;
}

export class LegacyReader implements CacheReader {
  readonly name: string;
  readonly storeDir = DEFAULT_STORE_DIR;
  readonly #options: LegacyReaderOptions;
  #held: Held | undefined;
  #generation = 0;
  #refreshedAt: Date | undefined;
  #lastError: string | undefined;

  constructor(options: LegacyReaderOptions) {
    this.name = options.store.name;
    this.#options = options;
  }

  /** Whether the last refresh found an index of the older layout. */
  get isPresent(): boolean {
    return this.#held !== undefined;
  }

  /** Outputs that were built, over all time, as one publish. */
  rootRecords(): Root[] {
    if (!this.#held) return [];
    const { index, digest } = this.#held;
    return rootRecords(index, digest, (hashPart) => this.findEntry(hashPart)?.narInfo.path);
  }

  findNarInfoText(hashPart: HashPart): string | undefined {
    const row = this.#held?.table.find(hashPart);
    return row && clientText(this.#read(row));
  }

  findEntry(hashPart: HashPart): Entry | undefined {
    const row = this.#held?.table.find(hashPart);
    return row && parseEntry(this.#read(row), this.storeDir);
  }

  /** Whether there is an entry, without reading it. */
  has(hashPart: HashPart): boolean {
    return this.#held?.table.find(hashPart) !== undefined;
  }

  /** Every entry once. */
  *entries(): Generator<Entry> {
    for (const row of this.#held?.table.rows() ?? []) yield parseEntry(this.#read(row), this.storeDir);
  }

  findNarFile(fileHash: NixHash): NarFile | undefined {
    const row = this.#held?.table.findFile(hashToBytes(fileHash));
    const entry = row && parseEntry(this.#read(row), this.storeDir);
    return entry?.narInfo.fileHash === fileHash ? { entry, size: entry.narInfo.fileSize } : undefined;
  }

  openNar(entry: Entry, options: CallOptions & { readonly range?: ByteRange | undefined } = {}): Promise<Readable> {
    return openNar(this.#options.store, entry, options);
  }

  /** The older layout has none. */
  async fetchListing(): Promise<undefined> {
    return undefined;
  }

  async fetchPublicKeys(): Promise<readonly string[]> {
    return this.#held?.index.publicKeys ?? [];
  }

  async refresh(options: CallOptions = {}): Promise<RefreshResult> {
    try {
      const result = await this.#refresh(options);
      this.#lastError = undefined;
      this.#refreshedAt = (this.#options.now ?? (() => new Date()))();
      return result;
    } catch (error) {
      this.#lastError = messageOf(error);
      throw error;
    }
  }

  status(): CacheStatus {
    return {
      entries: this.#held?.table.size ?? 0,
      segments: 0,
      generation: this.#generation,
      refreshedAt: this.#refreshedAt,
      lastError: this.#lastError,
    };
  }

  close(): void {
    this.#held = undefined;
  }

  async #refresh({ signal }: CallOptions): Promise<RefreshResult> {
    const { store } = this.#options;
    const head = await store.resolve(CACHE_INDEX_TAG, { signal });
    if (head?.mediaType !== IMAGE_MANIFEST) return this.#install(undefined, 0);
    if (head.digest === this.#held?.digest) return UNCHANGED;
    const manifest = await store.fetchManifest(CACHE_INDEX_TAG, { signal });
    if (!manifest || !legacyIndexOf(manifest)) return this.#install(undefined, 0);
    const { index, bytes } = await fetchLegacyIndex(store, manifest, { ...this.#options, signal });
    const { entries, ...rest } = index;
    const text = Buffer.from(formatEntries(entries));
    const table = EntryTable.of([scanEntries(text, `index of ${store.name}`)]);
    return this.#install({ digest: manifest.descriptor.digest, index: rest, text, table }, bytes);
  }

  #install(held: Held | undefined, bytes: number): RefreshResult {
    if (held === undefined && this.#held === undefined) return UNCHANGED;
    this.#held = held;
    this.#generation++;
    return { changed: true, addedSegments: 0, removedSegments: 0, bytes };
  }

  #read({ offset, length }: Row): string {
    return this.#held?.text.toString('utf8', offset, offset + length) ?? '';
  }
}

const UNCHANGED: RefreshResult = { changed: false, addedSegments: 0, removedSegments: 0, bytes: 0 };
