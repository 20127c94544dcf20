/** The entries of segments that are at hand, each in its newest form, found by its hash part or by its file. */
import { clientText, type Entry, parseEntry } from '../../cache-index/entry.ts';
import { EntryTable, type Row, type SegmentRows, STORE_HASH_BYTES } from '../../cache-index/entry-table.ts';
import { NO_ROWS, realisationKey } from '../../cache-index/segment-rows.ts';
import { isNixcacheError } from '../../errors.ts';
import { hashToBytes, type NixHash } from '../../nix/hash.ts';
import { decode } from '../../nix/nixbase32.ts';
import { DEFAULT_STORE_DIR, type HashPart } from '../../nix/store-path.ts';
import type { FoundRealisation } from './cache-reader.ts';
import { DamagedCopy } from './mirror.ts';
import type { LoadedSegment } from './segment-loader.ts';

/** An entry, the segment that holds it, and when it was last asserted, in Unix seconds. */
export interface FoundEntry {
  readonly entry: Entry;
  readonly tag: string;
  readonly asserted: number;
  /** As of MirroredSegment. */
  readonly signers: readonly string[];
}

/** A segment and its entries, until the next refresh. */
export interface HeldSegment {
  readonly tag: string;
  /** Unix seconds, by its tag: when those of its entries were asserted that do not say so themselves. */
  readonly time: number;
  readonly rows: SegmentRows;
  /** @throws {NixcacheError} ERR_FORMAT */
  entryAt(row: number): Entry;
}

/** Parsed entries that are kept, some 2 KB each: a publish asks for those of its closure several times. */
const MAX_PARSED = 4096;

export class LoadedEntries {
  #table = new EntryTable();
  /** By the row they were read from, until other segments are installed. */
  readonly #parsed = new Map<string, Entry>();
  /** By the key of the id, the row of the newest segment that has it. */
  #realisations = new Map<string, Row>();
  #segments: readonly LoadedSegment[] = [];
  #storeDir: string = DEFAULT_STORE_DIR;

  /** Oldest first. */
  get segments(): readonly LoadedSegment[] {
    return this.#segments;
  }

  /** By tag, those of which what is kept was not found to be damaged. */
  whole(): Map<string, LoadedSegment> {
    return new Map(this.#segments.filter(({ segment }) => !segment.isDamaged).map((loaded) => [loaded.tag, loaded]));
  }

  /** Entries with different hash parts. */
  get size(): number {
    return this.#table.size;
  }

  get storeDir(): string {
    return this.#storeDir;
  }

  /** Takes `segments` in place of those before, which are not closed. `storeDir` counts where there is no entry to say it. */
  install(segments: readonly LoadedSegment[], storeDir = this.#storeDir): void {
    const before = this.#segments;
    if (before.every((loaded, i) => segments[i] === loaded)) {
      for (const { segment } of segments.slice(before.length)) this.#table.add(segment.rows);
    } else this.#table = EntryTable.of(segments.map(({ segment }) => segment.rows));
    this.#segments = segments;
    this.#realisations = new Map(segments.flatMap(realisationRows));
    this.#storeDir = this.#readStoreDir() ?? storeDir;
    this.#parsed.clear();
  }

  has(hashPart: HashPart): boolean {
    return this.#table.find(hashPart) !== undefined;
  }

  findText(hashPart: HashPart): string | undefined {
    const row = this.#table.find(hashPart);
    return row && clientText(this.#read(row));
  }

  find(hashPart: HashPart, storeDir = this.#storeDir): FoundEntry | undefined {
    const row = this.#table.find(hashPart);
    return row && this.#found(row, storeDir);
  }

  /** Each form in which a segment has this entry, newest first. */
  *formsOf(hashPart: HashPart): Generator<Entry> {
    const wanted = decode(hashPart);
    for (const { segment } of this.#segments.toReversed()) {
      const { storeHashes, offsets, lengths } = segment.rows;
      const row = rowOf(storeHashes, wanted);
      if (row === undefined) continue;
      const text = wholeOf(() => segment.read(offsets[row] ?? 0, lengths[row] ?? 0));
      try {
        if (text !== undefined) yield parseEntry(text, this.#storeDir);
      } catch (error) {
        if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
      }
    }
  }

  findFile(fileHash: NixHash): Entry | undefined {
    const row = this.#table.findFile(hashToBytes(fileHash));
    const entry = row && this.#found(row).entry;
    return entry?.narInfo.fileHash === fileHash ? entry : undefined;
  }

  /** The newest realisation of `id`, with the entry of its path. */
  findRealisation(id: string): FoundRealisation | undefined {
    const row = this.#realisations.get(keyText(realisationKey(id), 0));
    const entry = row && this.#found(row).entry;
    const realisation = entry?.realisations?.find((each) => each.id === id);
    return entry && realisation && { realisation, entry };
  }

  /** Every entry once. */
  *all(): Generator<FoundEntry> {
    for (const row of this.#table.rows()) yield this.#foundBy(row, this.#parse(row, this.#storeDir));
  }

  /** Each segment with all of its entries: also those that a newer one has in another form. */
  held(): readonly HeldSegment[] {
    return this.#segments.map(({ tag, time, segment }) => ({
      tag,
      time,
      rows: segment.rows,
      entryAt: (row) =>
        parseEntry(segment.read(segment.rows.offsets[row] ?? 0, segment.rows.lengths[row] ?? 0), this.#storeDir),
    }));
  }

  /** A table of the same segments in which those of `tags` have no rows. */
  tableWithout(tags: ReadonlySet<string>): EntryTable {
    return EntryTable.of(this.#segments.map(({ tag, segment }) => (tags.has(tag) ? NO_ROWS : segment.rows)));
  }

  close(): void {
    for (const { segment } of this.#segments) segment.close();
  }

  #found(row: Row, storeDir = this.#storeDir): FoundEntry {
    const key = `${row.segment} ${row.offset} ${storeDir}`;
    const entry = this.#parsed.get(key) ?? this.#parse(row, storeDir);
    if (this.#parsed.size >= MAX_PARSED) this.#parsed.clear();
    this.#parsed.set(key, entry);
    return this.#foundBy(row, entry);
  }

  #foundBy(row: Row, entry: Entry): FoundEntry {
    const { tag, time, segment } = this.#segmentOf(row);
    return { entry, tag, asserted: entry.asserted ?? time, signers: segment.signers };
  }

  #parse(row: Row, storeDir: string): Entry {
    return parseEntry(this.#read(row), storeDir);
  }

  #read(row: Row): string {
    return this.#segmentOf(row).segment.read(row.offset, row.length);
  }

  #segmentOf({ segment }: Row): LoadedSegment {
    const loaded = this.#segments[segment];
    if (!loaded) throw new Error(`the entry table names segment ${segment} of ${this.#segments.length}`);
    return loaded;
  }

  /** As most entries say, going by the first of each segment: a wrong one must not hide all the others. */
  #readStoreDir(): string | undefined {
    const votes = new Map<string, number>();
    for (const { segment } of this.#segments) {
      const { count, offsets, lengths } = segment.rows;
      const text = count === 0 ? undefined : wholeOf(() => segment.read(offsets[0] ?? 0, lengths[0] ?? 0));
      const [, storeDir] = STORE_DIR.exec(text ?? '') ?? [];
      if (storeDir !== undefined) votes.set(storeDir, (votes.get(storeDir) ?? 0) + count);
    }
    return [...votes].toSorted(([, a], [, b]) => b - a)[0]?.[0];
  }
}

function realisationRows({ segment: { rows } }: LoadedSegment, segment: number): (readonly [string, Row])[] {
  const { realisations, offsets, lengths } = rows;
  if (!realisations) return [];
  return Array.from(realisations.rows, (row, i) => [
    keyText(realisations.keys, i),
    { segment, row, offset: offsets[row] ?? 0, length: lengths[row] ?? 0 },
  ]);
}

const KEY_BYTES = 20;
/** The key at place `i` of a column. */
const keyText = (keys: Uint8Array, i: number): string =>
  Buffer.from(keys.buffer, keys.byteOffset + i * KEY_BYTES, KEY_BYTES).toString('latin1');

/** The row of a segment with the store hash `wanted`. */
function rowOf(storeHashes: Uint8Array, wanted: Uint8Array): number | undefined {
  const bytes = Buffer.from(storeHashes.buffer, storeHashes.byteOffset, storeHashes.byteLength);
  let at = bytes.indexOf(wanted);
  while (at > 0 && at % STORE_HASH_BYTES !== 0) at = bytes.indexOf(wanted, at + 1);
  return at < 0 ? undefined : at / STORE_HASH_BYTES;
}

/** What `read` gives, or undefined where what is kept is damaged: the next refresh fetches it again. */
function wholeOf(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof DamagedCopy) return undefined;
    throw error;
  }
}

/** Of an entry's text. */
const STORE_DIR = /^StorePath: (\/[!-~]+)\/[^/\n]*\n/;
