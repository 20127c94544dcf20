/**
 * What a reader asks of a cache. `serve` is built on this alone; IndexReader implements it over a content store. Look-ups
 * answer at once where the index is at hand, as IndexReader's do, and by a promise where it has to be asked.
 */

import type { Readable } from 'node:stream';
import type { Entry } from '../../cache-index/entry.ts';
import type { Pin, Root } from '../../cache-index/records.ts';
import type { CallOptions } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import type { NixHash } from '../../nix/hash.ts';
import type { Realisation } from '../../nix/realisation.ts';
import type { HashPart } from '../../nix/store-path.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import type { Awaitable } from './index-store.ts';

/** A compressed NAR in the cache. */
export interface NarFile {
  readonly entry: Entry;
  /** Bytes of the compressed NAR. */
  readonly size: number;
}

/** Which path an output of a content-addressed derivation is. */
export interface FoundRealisation {
  readonly realisation: Realisation;
  readonly entry: Entry;
}

export interface CacheReader {
  /** The cache reference, for messages. */
  readonly name: string;
  /** The cache's store directory; /nix/store for a cache that was never written. */
  readonly storeDir: string;

  /** The narinfo text of an entry as clients get it, without our own fields: no parsing, the hot path of `serve`. */
  findNarInfoText(hashPart: HashPart): Awaitable<string | undefined>;
  /** The entry with this hash part, parsed. */
  findEntry(hashPart: HashPart): Awaitable<Entry | undefined>;
  /** The newest realisation with this id, and the entry of the path that it names. */
  findRealisation?(id: string): Awaitable<FoundRealisation | undefined>;
  /** What segments say of this hash part, newest first; those that cannot be parsed are left out. Slow: it looks at all. */
  entriesOf?(hashPart: HashPart): Iterable<Entry>;
  /** The compressed NAR with this file hash, whichever entry names it. */
  findNarFile(fileHash: NixHash): Awaitable<NarFile | undefined>;

  /**
   * Streams a compressed NAR, or a `range` of it, wherever its bytes lie (a blob, a pack, several parts). A whole NAR
   * ends in ERR_DIGEST_MISMATCH, its last bytes withheld, unless it has the file hash it should have.
   *
   * @throws {NixcacheError} ERR_NOT_FOUND when the registry has lost it; ERR_NETWORK and others
   */
  openNar(entry: Entry, options?: CallOptions & { readonly range?: ByteRange | undefined }): Promise<Readable>;
  /** A URL from which whoever has it may fetch the compressed NAR for some minutes; undefined where only `openNar` gives it. */
  locateNar?(entry: Entry, options?: CallOptions): Promise<URL | undefined>;
  /** The `.ls` listing of an entry as JSON text, if it was published. */
  fetchListing(entry: Entry, options?: CallOptions): Promise<Buffer | undefined>;
  /** Signing keys that publishers of this cache named, `name:base64`, less what is no key. */
  fetchPublicKeys(options?: CallOptions): Promise<readonly string[]>;

  /** The cache as a whole, for whoever looks at all of it. */
  openContents?(): CacheContents;

  /** Learns what changed since the last time; readers go on with what they had while it runs, and when it fails. */
  refresh(options?: CallOptions): Promise<RefreshResult>;
  status(): CacheStatus;
  /** Closes files. */
  close(): void;
}

/** All that is in a cache. What was fetched of it is kept as long as somebody has this. */
export interface CacheContents {
  /** Every segment at hand, oldest first; good until a refresh changes something. */
  segments(): readonly ListedSegment[];
  /** @throws {NixcacheError} when the cache was not read yet */
  fetchRecords(options?: CallOptions): Promise<CacheRecords>;
}

/** Roots and pins, oldest first: also of what was moved or removed since. */
export interface CacheRecords {
  readonly roots: readonly Root[];
  readonly pins: readonly Pin[];
  /** What could not be read, and why: with it, gc stops. */
  readonly unreadable: readonly string[];
  /** What the last gc was told to retain; undefined where there was none, or it did not say. */
  readonly retainSeconds: number | undefined;
}

/** A segment and its entries, one by one. */
export interface ListedSegment {
  readonly tag: string;
  /** Unix seconds: when those of its entries were asserted that do not say so themselves. */
  readonly time: number;
  readonly rows: { readonly count: number };
  /** @throws {NixcacheError} ERR_FORMAT; a DamagedCopy, which the next refresh mends */
  entryAt(row: number): Entry;
}

export interface RefreshResult {
  readonly changed: boolean;
  readonly addedSegments: number;
  readonly removedSegments: number;
  /** Bytes downloaded. */
  readonly bytes: number;
}

export interface CacheStatus {
  /** Of the index. */
  readonly entries: number;
  /** Paths that were uploaded and are not in the index yet. */
  readonly uploaded?: number | undefined;
  readonly segments: number;
  /** Grows with each refresh that changed something. */
  readonly generation: number;
  /** When the view was last known to be the registry's; undefined before the first successful refresh. */
  readonly refreshedAt: Date | undefined;
  /** Message of the last refresh if that failed. */
  readonly lastError: string | undefined;
}

/** How many paths there are for readers. */
export const pathsOf = ({ entries, uploaded = 0 }: CacheStatus): number => entries + uploaded;

/** @throws {NixcacheError} ERR_USAGE: entries of two store directories cannot be told apart by hash part */
export function assertStoreDir(reader: CacheReader, storeDir: string): void {
  if (reader.status().entries > 0 && reader.storeDir !== storeDir) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${reader.name} is a cache for ${reader.storeDir}, this Nix store is ${storeDir}: publish to another cache`,
    );
  }
}
