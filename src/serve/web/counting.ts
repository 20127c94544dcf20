/**
 * Figures of the cache for its pages: counted beside the requests, once for each state of the index and only while somebody
 * looks, and let go when nobody does any more.
 */
import type { CacheContents, CacheReader, CacheRecords, ListedSegment } from '../../cache/read/cache-reader.ts';
import { DamagedCopy } from '../../cache/read/mirror.ts';
import { abortable, type CallOptions, withDeadline } from '../../call-options.ts';
import type { Sizes } from '../../census/entry-graph.ts';
import { Inventory } from '../../census/inventory.ts';
import { type SizesByName, sizesByName } from '../../census/name-sizes.ts';
import { type Pause, Slices, sortedNumbers } from '../../census/slices.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';

/** What can be said of all entries. */
export interface Figures {
  readonly generation: number;
  readonly inventory: Inventory;
  readonly total: Sizes;
  readonly signers: Inventory['signers'];
  readonly sizes: SizesByName;
  /** Entries that cannot be read. */
  readonly unreadable: number;
  /** All entries, by name; largest first; last asserted first. */
  readonly orders: Readonly<Record<Order, Uint32Array>>;
}

export type Order = 'name' | 'size' | 'newest';

/** `progress` is of 1. */
export type Counted =
  | { readonly state: 'counted'; readonly figures: Figures }
  | { readonly state: 'counting'; readonly progress: number }
  | { readonly state: 'failed'; readonly error: string };

export interface CountingOptions {
  readonly reader: Pick<CacheReader, 'name' | 'status' | 'openContents' | 'refresh'>;
  readonly pause: Pause;
  readonly now: () => Date;
}

/** So long after the last look the figures are let go. */
const IDLE_MS = 600_000;
/** What was read by then is known when it is tried again. */
const RECORDS_TIMEOUT_MS = 60_000;
/** Names whose bytes are told one by one. */
const NAMES = 120;
/** Steps of an entry that is read and parsed, some 15 microseconds. */
const READING = 1500;
/** A copy that turns out to be damaged is mended by a refresh, after which all is counted again. */
const ATTEMPTS = 3;

class Outdated extends Error {}

export class Counting {
  readonly #options: CountingOptions;
  #contents: CacheContents | undefined;
  #counted: Counted = { state: 'counting', progress: 0 };
  /** The generation that `#counted` is of, or is being counted. */
  #generation = -1;
  #run: Promise<void> | undefined;
  #records: { readonly of: Date | undefined; readonly records: CacheRecords } | undefined;
  #lastLookMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  constructor(options: CountingOptions) {
    this.#options = options;
  }

  /** What is known by now; after up to `waitMs` if that is not all yet. */
  async look(waitMs: number, { signal }: CallOptions = {}): Promise<Counted> {
    this.#lastLookMs = this.#nowMs();
    this.#begin();
    if (this.#run !== undefined) await wait(this.#run, waitMs, signal);
    return this.#counted;
  }

  /**
   * Roots and pins as they were last read, or undefined if that has not been done yet; after up to `waitMs` if they have to be
   * read anew.
   *
   * @throws {NixcacheError}
   */
  async records(waitMs: number, { signal }: CallOptions = {}): Promise<CacheRecords | undefined> {
    this.#lastLookMs = this.#nowMs();
    const { refreshedAt } = this.#options.reader.status();
    if (this.#records === undefined || this.#records.of !== refreshedAt) {
      this.#reading ??= this.#readRecords().finally(() => {
        this.#reading = undefined;
      });
      await wait(this.#reading, waitMs, signal);
    }
    return this.#records?.records;
  }

  /** Lets the figures go if nobody looks. To be called now and then. */
  review(): void {
    if (this.#nowMs() - this.#lastLookMs >= IDLE_MS) this.#drop();
  }

  #drop(): void {
    this.#generation = -1;
    this.#counted = { state: 'counting', progress: 0 };
    this.#contents = undefined;
    this.#records = undefined;
  }

  #begin(): void {
    const { generation } = this.#options.reader.status();
    if (this.#generation === generation) return;
    this.#generation = generation;
    // Before the new ones: there is no room for both in a large cache.
    this.#counted = { state: 'counting', progress: 0 };
    const run = this.#count(generation).finally(() => {
      if (this.#run === run) this.#run = undefined;
    });
    this.#run = run;
  }

  async #count(generation: number): Promise<void> {
    const { reader } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        const figures = await this.#figures(generation);
        if (this.#generation === generation) this.#counted = { state: 'counted', figures };
        return;
      } catch (error) {
        if (error instanceof Outdated) return;
        if (error instanceof DamagedCopy && attempt < ATTEMPTS) {
          await reader.refresh().catch(() => {});
          // It is of another generation now, and whoever looks next begins anew.
          if (reader.status().generation !== generation) return;
          continue;
        }
        if (this.#generation === generation) this.#counted = { state: 'failed', error: messageOf(error) };
        return;
      }
    }
  }

  async #figures(generation: number): Promise<Figures> {
    const { reader, pause } = this.#options;
    const slices = new Slices(async () => {
      await pause();
      if (this.#generation !== generation || reader.status().generation !== generation) throw new Outdated();
    });
    const segments = this.#open().segments();
    const inventory = new Inventory();
    const rows = segments.reduce((sum, segment) => sum + segment.rows.count, 0);
    let unreadable = 0;
    let done = 0;
    for (const segment of segments) {
      for (let row = 0; row < segment.rows.count; row++) {
        if (!addEntry(inventory, segment, row)) unreadable++;
        done++;
        if (!slices.spend(READING)) continue;
        this.#counted = { state: 'counting', progress: (0.9 * done) / rows };
        await slices.turn();
      }
    }
    const { count } = inventory;
    const name = await sortedNumbers(count, (a, b) => inventory.names.compare(a, b) || a - b, slices);
    const size = await sortedNumbers(
      count,
      (a, b) => inventory.fileBytesOf(b) - inventory.fileBytesOf(a) || a - b,
      slices,
    );
    const newest = await sortedNumbers(
      count,
      (a, b) => inventory.assertedOf(b) - inventory.assertedOf(a) || a - b,
      slices,
    );
    const sizes = await sizesByName(inventory, name, NAMES, slices);
    const { total, signers } = inventory;
    return { generation, inventory, total, signers, sizes, unreadable, orders: { name, size, newest } };
  }

  async #readRecords(): Promise<void> {
    const { reader } = this.#options;
    const late = (): Error =>
      new NixcacheError('ERR_NETWORK', `roots and pins of ${reader.name} were not there in time`);
    const { refreshedAt } = reader.status();
    const contents = this.#open();
    const records = await withDeadline(RECORDS_TIMEOUT_MS, late, undefined, (signal) =>
      contents.fetchRecords({ signal }),
    );
    if (this.#contents === contents) this.#records = { of: refreshedAt, records };
  }

  #open(): CacheContents {
    this.#contents ??= this.#options.reader.openContents?.();
    if (!this.#contents)
      throw new NixcacheError('ERR_USAGE', `${this.#options.reader.name} cannot be looked at as a whole`);
    return this.#contents;
  }

  #nowMs(): number {
    return this.#options.now().getTime();
  }
}

/** Until `work` ends, for `waitMs` at the most. Rejects as it does, or with the reason of `signal`. */
async function wait(work: Promise<void>, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
  const late = new Error('it goes on');
  work.catch(() => {}); // even if nobody waits for its end
  await withDeadline(
    waitMs,
    () => late,
    signal,
    (signal) => abortable(work, signal),
  ).catch((error: unknown) => {
    if (error !== late) throw error;
  });
}

/** Whether it could be read. */
function addEntry(inventory: Inventory, { entryAt, time }: ListedSegment, row: number): boolean {
  try {
    const entry = entryAt(row);
    inventory.add(entry, entry.asserted ?? time);
    return true;
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
    return false;
  }
}
