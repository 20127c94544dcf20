/**
 * Collects entries in the order given and commits a segment whenever one is full or due. Whoever hands entries over
 * references first thereby leaves a closed set after every commit, and a killed run keeps what it committed.
 */

import type { Entry } from '../../cache-index/entry.ts';
import { NO_RECORDS, type SegmentRecords } from '../../cache-index/records.ts';
import { encodeSegment } from '../../cache-index/segment.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { commitSegment } from './commit.ts';

/** An entry with the blobs that hold its bytes. */
export interface BackedEntry {
  readonly entry: Entry;
  readonly blobs: readonly Descriptor[];
}

/** An entry whose bytes may still be on their way. */
export interface PendingEntry {
  /** Blobs known now that will be layers; packs still open are not among them. */
  readonly layers: readonly Digest[];
  /** Settles once every blob is stored. Called when its segment is committed. */
  readonly resolve: () => Promise<BackedEntry | undefined>;
}

export interface CommittedSegment {
  readonly tag: string;
  readonly descriptor: Descriptor;
  readonly entries: number;
}

export interface SegmentWriterOptions extends CallOptions {
  readonly store: ContentStore;
  readonly storeDir: string;
  readonly creator: string;
  readonly publicKeys: readonly string[];
  readonly sourceUrl?: string | undefined;
  /** Layers to keep free for packs that are not known when an entry is added; default none. */
  readonly packLayers?: number | undefined;
  /** Called before a segment's entries are resolved. */
  readonly flush?: (() => Promise<void>) | undefined;
  /**
   * Called once a segment when the store has not (any more) what its entries need. Gives the entries to try again with.
   * Without it, that is the caller's error.
   */
  readonly restore?: ((entries: readonly BackedEntry[]) => Promise<readonly BackedEntry[]>) | undefined;
  readonly onCommit?: ((segment: CommittedSegment) => void) | undefined;
  readonly now: () => Date;
}

/** Entries of one segment; docs/cache-format.md section 3. */
const MAX_SEGMENT_ENTRIES = 1000;
/** 3 minutes: what a killed run loses at most, and far below the hour after which zot reaps unreferenced blobs. */
const MAX_COMMIT_INTERVAL_MS = 3 * 60 * 1000;
/** The entries blob is a layer too. */
const OWN_LAYERS = 1;

export class SegmentWriter {
  readonly segments: CommittedSegment[] = [];
  readonly #options: SegmentWriterOptions;
  #pending: PendingEntry[] = [];
  #layers = new Set<Digest>();
  #lastCommitMs: number;

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#lastCommitMs = options.now().getTime();
  }

  async add(pending: PendingEntry): Promise<void> {
    const room = this.#options.store.maxLayers - OWN_LAYERS - (this.#options.packLayers ?? 0);
    const added = new Set(pending.layers.filter((digest) => !this.#layers.has(digest)));
    if (this.#pending.length > 0 && this.#layers.size + added.size > room) await this.#commit(NO_RECORDS);
    this.#pending.push(pending);
    for (const digest of pending.layers) this.#layers.add(digest);
    const isDue = this.#options.now().getTime() - this.#lastCommitMs > MAX_COMMIT_INTERVAL_MS;
    if (this.#pending.length >= MAX_SEGMENT_ENTRIES || isDue) await this.#commit(NO_RECORDS);
  }

  /** Commits what is left, with `records`: by now everything they need is there. */
  async finish(records: SegmentRecords = NO_RECORDS): Promise<void> {
    if (this.#pending.length + records.roots.length + records.pins.length > 0) await this.#commit(records);
  }

  async #commit(records: SegmentRecords): Promise<void> {
    const { signal, flush, onCommit, now } = this.#options;
    signal?.throwIfAborted();
    await flush?.();
    const resolved = await Promise.all(this.#pending.map(({ resolve }) => resolve()));
    const entries = resolved.filter((entry) => entry !== undefined);
    this.#pending = [];
    this.#layers = new Set();
    if (entries.length + records.roots.length + records.pins.length > 0) {
      const segment = await this.#write(entries, records);
      this.segments.push(segment);
      onCommit?.(segment);
    }
    this.#lastCommitMs = now().getTime();
  }

  async #write(entries: readonly BackedEntry[], records: SegmentRecords): Promise<CommittedSegment> {
    const { restore } = this.#options;
    try {
      return await this.#writeOnce(entries, records);
    } catch (error) {
      if (!restore || !isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw error;
      return this.#writeOnce(await restore(entries), records);
    }
  }

  async #writeOnce(backed: readonly BackedEntry[], records: SegmentRecords): Promise<CommittedSegment> {
    const { store, storeDir, creator, sourceUrl, publicKeys, signal, now } = this.#options;
    const blobs = new Map<Digest, Descriptor>();
    for (const entry of backed) for (const blob of entry.blobs) blobs.set(blob.digest, blob);
    const segment = encodeSegment({
      entries: backed.map(({ entry }) => entry),
      blobs: [...blobs.values()],
      ...{ storeDir, creator, sourceUrl, publicKeys, now: now() },
      ...records,
    });
    await commitSegment(store, segment, { signal });
    return { tag: segment.tag, descriptor: segment.descriptor, entries: backed.length };
  }
}
