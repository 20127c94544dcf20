/**
 * The one writer: whatever puts bytes and entries into a cache does it with this.
 *
 *     await using writer = new CacheWriter({ store, spool, storeDir, … });
 *     await writer.addAll(incoming, { concurrency });  // paths whose bytes are to be had somewhere
 *     await writer.add(carried(backed));               // an entry whose blobs are there
 *     await writer.finish({ roots, pins });
 *
 * Entries are committed in the order in which they are added, a segment whenever one is full or due. Whoever adds them
 * references first thereby leaves a closed set after every commit, and a killed run keeps what it committed. When the
 * store has lost blobs by the time of a commit (its garbage collection took them, or a gc ran), what needs them is taken
 * from its source again, once. What is wrong with one path is the fault of that path and of those that need it: they are
 * left out, and their roots with them. Memory is bounded by how many paths are under way, not by how large they are.
 */

import pLimit from 'p-limit';
import { NO_RECORDS, type SegmentRecords } from '../../cache-index/records.ts';
import { encodeSegment, type SegmentInput } from '../../cache-index/segment.ts';
import { anySignal, rejectionOf } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import { type BaseName, baseNameOf, type StorePath } from '../../nix/store-path.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { BlobUploader, type BlobUploaderOptions } from './blob-uploader.ts';
import { commitSegment } from './commit.ts';
import { storeAgain } from './healing.ts';
import { type BackedEntry, type IncomingPath, isPathFault, type PendingEntry } from './incoming.ts';
import { MAX_COMMIT_INTERVAL_MS, MAX_SEGMENT_ENTRIES, MAX_SEGMENT_REFERENCES } from './limits.ts';
import { Losses, type References } from './losses.ts';
import { stage } from './stage.ts';
import { segmentGroups, storedEntries, type UnfinishedEntry } from './stored-entries.ts';

export interface CommittedSegment {
  readonly tag: string;
  readonly descriptor: Descriptor;
  readonly entries: number;
}

export interface LeftOutPath {
  readonly path: StorePath;
  readonly reason: string;
  /** Nothing is wrong with it: something that it needs was left out. */
  readonly isDependent: boolean;
}

type SegmentFacts = Pick<SegmentInput, 'storeDir' | 'creator' | 'source' | 'revision' | 'sourceUrl' | 'behind'>;

export interface CacheWriterOptions extends BlobUploaderOptions, SegmentFacts {
  /** Recorded for readers, who then may know them. */
  readonly publicKeys?: readonly string[];
  readonly store: ContentStore;
  /** Told of each segment, with its entries and the blob that holds them; awaited. */
  readonly onCommit?:
    | ((segment: CommittedSegment, entries: readonly BackedEntry[], blob: Buffer) => void | Promise<void>)
    | undefined;
  /** Told of each path that is left out; without it, a path whose bytes are lost ends the run. */
  readonly onLeftOut?: ((leftOut: LeftOutPath) => void) | undefined;
  /** What refers to a path that is left out is written all the same. */
  readonly keepsDependents?: boolean | undefined;
  /**
   * All that is needed by what is added and by roots, whether it is added too or was there before: also through the latter
   * they may need what is left out. Asked once, when something is.
   */
  readonly closure?: (() => Iterable<References>) | undefined;
  /** Once it is aborted, nothing more is taken; what is stored can still be committed. Default: `signal`, which ends all. */
  readonly taking?: AbortSignal | undefined;
  /** The same for bytes that are being stored. */
  readonly uploading?: AbortSignal | undefined;
  readonly now: () => Date;
}

export interface AddAllOptions {
  /** Paths under way at once. */
  readonly concurrency: number;
  /** Bytes of the path are stored, or on their way; in no order. */
  readonly onTaken?: ((narInfo: PendingEntry['narInfo']) => void) | undefined;
}

/** The entries blob is a layer too. */
const OWN_LAYERS = 1;

export class CacheWriter implements AsyncDisposable {
  readonly segments: CommittedSegment[] = [];
  readonly written = new Set<BaseName>();
  readonly #losses: Losses;
  readonly #options: CacheWriterOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #takeSignal: AbortSignal;
  readonly #uploader: BlobUploader;
  readonly #taking = new Set<Promise<unknown>>();
  #pending: PendingEntry[] = [];
  #unadded: UnfinishedEntry[] = [];
  #layers = new Set<string>();
  /** Of all that is pending. */
  #references = 0;
  #lastCommitMs: number;

  constructor(options: CacheWriterOptions) {
    this.#options = options;
    this.#losses = new Losses(() => options.closure?.() ?? []);
    this.#signal = anySignal(this.#stop.signal, options.signal);
    const uploadSignal = anySignal(this.#signal, options.uploading);
    this.#takeSignal = anySignal(uploadSignal, options.taking);
    this.#uploader = new BlobUploader({ ...options, signal: uploadSignal });
    this.#lastCommitMs = options.now().getTime();
  }

  /** Paths that are not written, and why. */
  get leftOut(): ReadonlyMap<BaseName, string> {
    return this.#losses.leftOut;
  }

  /** Adds `incoming`, which comes references first, each as far as its bytes are what they should be. */
  async addAll(incoming: readonly IncomingPath[], { concurrency, onTaken }: AddAllOptions): Promise<void> {
    const limit = pLimit({ concurrency, rejectOnClear: true });
    const tasks = incoming.map((each) =>
      limit(async () => {
        if (this.#faultOf(each.info) !== undefined) return undefined;
        const pending = await this.take(each);
        onTaken?.(pending.narInfo);
        return pending;
      }),
    );
    for (const task of tasks) task.catch(() => undefined); // each is awaited below, unless an earlier one stops the run
    const stopped = rejectionOf(this.#takeSignal);
    let added = 0;
    try {
      for (const { info } of incoming) {
        const pending = await Promise.race([tasks[added], stopped.promise]).catch((error: unknown) => {
          if (!isPathFault(error)) throw error;
          this.#leaveOut(info.path, error.message);
        });
        if (!this.#lacksReference(info) && pending) await this.add(pending);
        added += 1;
      }
    } finally {
      stopped.release();
      limit.clearQueue();
      for (const [i, pending] of tasks.entries()) {
        const info = incoming[i]?.info;
        if (i >= added && info) this.#unadded.push({ info, pending });
      }
    }
  }

  /**
   * Takes the bytes of `incoming` and puts them on their way.
   *
   * @throws {NixcacheError} what `incoming` throws, ERR_NAR_MISMATCH where the path is at fault; and the store's errors
   */
  async take(incoming: IncomingPath): Promise<PendingEntry> {
    this.#takeSignal.throwIfAborted();
    const taking = this.#take(incoming).finally(() => this.#taking.delete(taking));
    this.#taking.add(taking);
    return taking;
  }

  /** Adds one entry. Those that lack a reference are left out. */
  async add(pending: PendingEntry): Promise<void> {
    if (this.#lacksReference(pending.narInfo)) return;
    const added = new Set(pending.layers.filter((layer) => !this.#layers.has(layer)));
    if (this.#pending.length > 0 && this.#layers.size + added.size > this.#maxBlobs) await this.#commit(NO_RECORDS);
    this.#pending.push(pending);
    for (const layer of pending.layers) this.#layers.add(layer);
    // The clock may be set meanwhile, to whenever.
    const isDue = Math.abs(this.#options.now().getTime() - this.#lastCommitMs) > MAX_COMMIT_INTERVAL_MS;
    this.#references += pending.narInfo.references.length;
    const isFull = this.#pending.length >= MAX_SEGMENT_ENTRIES || this.#references >= MAX_SEGMENT_REFERENCES;
    if (isFull || isDue) await this.#commit(NO_RECORDS);
  }

  /** Commits what is left, with `records`, less the roots that were left out: by now everything they need is there. */
  async finish(records: SegmentRecords = NO_RECORDS): Promise<void> {
    await this.#commit(records);
  }

  /**
   * After another call has thrown: commits what is stored, or still is before `uploading` aborts, as far as all that it refers
   * to is committed too, and no roots. What became of it is in `written`.
   *
   * @throws {NixcacheError} as any commit
   */
  async commitStored(): Promise<void> {
    const flush = (): Promise<void> => this.#uploader.flush().catch(() => undefined); // told by the entries that need it
    await Promise.all([flush(), ...this.#unadded.map(({ pending }) => pending.then(flush, () => undefined))]);
    const pending = this.#pending.map((each) => ({ info: each.narInfo, pending: Promise.resolve(each) }));
    const entries = await storedEntries([...pending, ...this.#unadded], (info) => this.#faultOf(info) !== undefined);
    for (const group of segmentGroups(entries, this.#maxBlobs)) await this.#write(group, NO_RECORDS);
    this.#unadded = [];
    this.#takePending();
  }

  /** Gives up what is under way, and returns once nothing is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#taking);
  }

  async #take(incoming: IncomingPath): Promise<PendingEntry> {
    const taken = await incoming.take({ signal: this.#takeSignal });
    await this.#uploader.ready();
    return stage(taken, this.#uploader, () => this.take(incoming));
  }

  #faultOf(info: References): string | undefined {
    return this.#options.keepsDependents ? undefined : this.#losses.faultOf(info);
  }

  /** Whether `info` would lack a reference; then it is left out. */
  #lacksReference(info: References): boolean {
    const fault = this.#faultOf(info);
    if (fault !== undefined) this.#leaveOut(info.path, fault, true);
    return fault !== undefined;
  }

  #leaveOut(path: StorePath, reason: string, isDependent = false): void {
    const name = baseNameOf(path);
    if (this.leftOut.has(name)) return;
    this.#losses.add(name, reason);
    this.#options.onLeftOut?.({ path, reason, isDependent });
  }

  get #maxBlobs(): number {
    return this.#options.store.maxLayers - OWN_LAYERS;
  }

  async #commit(records: SegmentRecords): Promise<void> {
    this.#signal.throwIfAborted();
    const pending = this.#takePending().filter(({ narInfo }) => !this.#lacksReference(narInfo));
    try {
      await this.#writeAll(pending, records);
    } catch (error) {
      this.#pending = [...pending, ...this.#pending];
      throw error;
    }
    this.#lastCommitMs = this.#options.now().getTime();
  }

  #takePending(): readonly PendingEntry[] {
    const pending = this.#pending;
    this.#pending = [];
    this.#layers = new Set();
    this.#references = 0;
    return pending;
  }

  async #writeAll(pending: readonly PendingEntry[], records: SegmentRecords): Promise<void> {
    const entries = await this.#resolve(pending);
    try {
      await this.#write(entries, records);
    } catch (error) {
      if (!isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw error;
      await this.#writeHealed(pending, entries, records, error);
    }
  }

  async #resolve(pending: readonly PendingEntry[]): Promise<BackedEntry[]> {
    if (pending.length > 0) await this.#uploader.flush(); // else what is in the open pack is nobody's
    return Promise.all(pending.map(({ resolve }) => resolve()));
  }

  async #writeHealed(
    pending: readonly PendingEntry[],
    entries: readonly BackedEntry[],
    records: SegmentRecords,
    cause: unknown,
  ): Promise<void> {
    const outcomes = await storeAgain(pending, entries, { store: this.#options.store, signal: this.#signal });
    const kept: PendingEntry[] = [];
    for (const [i, { narInfo }] of pending.entries()) {
      const outcome = outcomes[i];
      if (outcome instanceof Error) {
        if (!this.#options.onLeftOut) throw cause;
        this.#leaveOut(narInfo.path, outcome.message);
      } else if (outcome && !this.#lacksReference(narInfo)) kept.push(outcome);
    }
    // Other bytes may be in other blobs, and more of them than a manifest takes.
    const groups = segmentGroups(await this.#resolve(kept), this.#maxBlobs);
    const last = groups.pop() ?? [];
    for (const group of groups) await this.#write(group, NO_RECORDS);
    await this.#write(last, records);
  }

  async #write(backed: readonly BackedEntry[], { roots, pins }: SegmentRecords): Promise<void> {
    const { store, storeDir, creator, source, revision, sourceUrl, behind, publicKeys = [] } = this.#options;
    const { onCommit, now } = this.#options;
    const whole = roots.filter(({ path }) => this.#losses.isWhole(path));
    if (backed.length + whole.length + pins.length === 0) return;
    const blobs = new Map(backed.flatMap((each) => each.blobs).map((blob) => [blob.digest, blob]));
    const encoded = encodeSegment({
      entries: backed.map(({ entry }) => entry),
      blobs: [...blobs.values()],
      ...{ storeDir, creator, source, revision, sourceUrl, behind, publicKeys, roots: whole, pins, now: now() },
    });
    await commitSegment(store, encoded, { signal: this.#signal });
    const segment = { tag: encoded.tag, descriptor: encoded.descriptor, entries: backed.length };
    this.segments.push(segment);
    for (const { entry } of backed) this.written.add(baseNameOf(entry.narInfo.path));
    await onCommit?.(segment, backed, encoded.entriesBlob);
  }
}
