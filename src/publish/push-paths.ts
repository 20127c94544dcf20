/**
 * Pushes paths and commits them, references first: every segment leaves a closed set, a killed run keeps what it
 * committed, and memory is bounded by how many paths are under way, not by how large they are.
 */

import pLimit from 'p-limit';
import type { BackedEntry } from '../cache/write/segment-writer.ts';
import { openSpool } from '../cache/write/spool.ts';
import type { Root } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import type { Compression, NarRunner } from '../nar/nar-job.ts';
import { defaultWorkers, NarPool } from '../nar/nar-pool.ts';
import type { PathInfo } from '../nix/path-info.ts';
import type { SecretKey } from '../nix/signature.ts';
import { type BaseName, baseNameOf } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { OnPublishEvent } from './events.ts';
import { NarUploader, type StagedPath } from './nar-uploader.ts';
import { type CommittedSegment, commitBatch, type SegmentBatchOptions } from './segment-batch.ts';

export interface PushPathsOptions extends CallOptions {
  readonly store: ContentStore;
  /** References first. */
  readonly push: readonly PathInfo[];
  /** In the cache already, and to be listed again; references first. */
  readonly asserted: readonly BackedEntry[];
  /** Recorded with the last segment, once everything they need is committed. */
  readonly roots: readonly Root[];
  readonly keys: readonly SecretKey[];
  readonly storeDir: string;
  readonly creator: string;
  readonly source?: string | undefined;
  readonly revision?: string | undefined;
  readonly sourceUrl?: string | undefined;
  readonly compression: Compression;
  readonly contentPath: (info: PathInfo) => string;
  /** Asked before the last commit: paths that have to be pushed after all, references first. */
  readonly recheck?: (() => Promise<readonly PathInfo[]>) | undefined;
  /** Threads that compress. */
  readonly workers?: number | undefined;
  /** Who compresses; closed at the end. Default: so many threads. */
  readonly pool?: NarRunner | undefined;
  readonly onEvent: OnPublishEvent;
  readonly now: () => Date;
}

export interface PushOutcome {
  readonly segments: readonly CommittedSegment[];
  readonly pushed: readonly PathInfo[];
  /** Paths that were left out, and why: their own fault, or that of something they refer to. */
  readonly failed: ReadonlyMap<BaseName, string>;
  readonly uploadedBytes: number;
  readonly existedBytes: number;
}

/** Entries of one segment; format section 2. */
const MAX_SEGMENT_ENTRIES = 1000;
/** 3 minutes: what a killed job loses at most, and far below the hour after which zot reaps unreferenced blobs. */
const MAX_COMMIT_INTERVAL_MS = 3 * 60 * 1000;
/** Uploads at once: a registry's patience, and enough to hide 50 ms of latency. */
const CONCURRENT_UPLOADS = 8;

export async function pushPaths(options: PushPathsOptions): Promise<PushOutcome> {
  const { store } = options;
  await using spool = await openSpool(store);
  const workers = options.workers ?? defaultWorkers();
  const pool = options.pool ?? new NarPool(workers);
  const stop = (): void => void pool.close();
  options.signal?.addEventListener('abort', stop, { once: true });
  try {
    return await run(options, pool, workers, spool.directory);
  } finally {
    options.signal?.removeEventListener('abort', stop);
    await pool.close();
  }
}

async function run(
  options: PushPathsOptions,
  pool: NarRunner,
  workers: number,
  spoolDirectory: string,
): Promise<PushOutcome> {
  const { push, onEvent, signal } = options;
  let uploadedBytes = 0;
  let existedBytes = 0;
  const uploader = new NarUploader({
    ...options,
    pool,
    spoolDirectory,
    uploadLimit: pLimit(CONCURRENT_UPLOADS),
    events: {
      onRead: (bytes) => onEvent({ type: 'nar-read', bytes }),
      onUploaded: (bytes, existed) => {
        if (existed) existedBytes += bytes;
        else uploadedBytes += bytes;
        onEvent({ type: 'uploaded', bytes, existed });
      },
    },
  });
  const failed = new Map<BaseName, string>();
  const underWay = pLimit(workers * 2 + CONCURRENT_UPLOADS);
  let stopped = false;
  const tasks = push.map((info) =>
    underWay(async (): Promise<StagedPath | undefined> => {
      if (stopped || faultOf(info, failed) !== undefined) return undefined;
      const staged = await uploader.stage(info);
      onEvent({ type: 'path-done', path: info.path });
      return staged;
    }),
  );
  for (const task of tasks) task.catch(() => undefined); // each is awaited below, unless an earlier one stops the run

  const committer = new Committer({ ...options, uploader, signal }, options.asserted, onEvent);
  const pushed: PathInfo[] = [];
  try {
    for (const [i, info] of push.entries()) {
      const fault = faultOf(info, failed);
      try {
        const staged = await tasks[i];
        if (fault !== undefined) failed.set(baseNameOf(info.path), fault);
        else if (staged) {
          await committer.add(staged);
          pushed.push(info);
        }
      } catch (error) {
        if (!isNixcacheError(error, 'ERR_NAR_MISMATCH', 'ERR_FORMAT')) throw error;
        failed.set(baseNameOf(info.path), messageOf(error));
        onEvent({ type: 'warning', message: messageOf(error) });
      }
    }
    for (const info of (await options.recheck?.()) ?? []) {
      await committer.add(await uploader.stage(info));
      pushed.push(info);
    }
    await committer.finish(options.roots.filter(({ path }) => !failed.has(path)));
  } finally {
    stopped = true;
    underWay.clearQueue();
  }
  return { segments: committer.segments, pushed, failed, uploadedBytes, existedBytes };
}

/** Why `info` cannot be published although nothing is wrong with it: it would lack a reference. */
function faultOf(info: PathInfo, failed: ReadonlyMap<BaseName, string>): string | undefined {
  const lacking = info.references.find((reference) => failed.has(reference));
  return lacking && `it refers to ${lacking}, which was left out`;
}

/** Collects staged paths in order and commits a segment whenever one is full or due. */
class Committer {
  readonly segments: CommittedSegment[] = [];
  readonly #options: SegmentBatchOptions;
  readonly #onEvent: OnPublishEvent;
  #staged: StagedPath[] = [];
  #asserted: readonly BackedEntry[];
  #layers = 0;
  #lastCommit: number;

  constructor(options: SegmentBatchOptions, asserted: readonly BackedEntry[], onEvent: OnPublishEvent) {
    this.#options = options;
    this.#asserted = asserted;
    this.#onEvent = onEvent;
    this.#lastCommit = options.now().getTime();
  }

  async add(staged: StagedPath): Promise<void> {
    const room = this.#options.store.maxLayers - LAYER_MARGIN;
    if (this.#layers + staged.blobs.length > room && this.#staged.length > 0) await this.#commit([]);
    this.#staged.push(staged);
    this.#layers += staged.blobs.length;
    const due = this.#options.now().getTime() - this.#lastCommit > MAX_COMMIT_INTERVAL_MS;
    if (this.#staged.length >= MAX_SEGMENT_ENTRIES || due) await this.#commit([]);
  }

  async finish(roots: readonly Root[]): Promise<void> {
    if (this.#staged.length > 0 || this.#asserted.length > 0 || roots.length > 0) await this.#commit(roots);
  }

  async #commit(roots: readonly Root[]): Promise<void> {
    // Entries that are there already go first, and by themselves: they are part of any prefix.
    const room = Math.min(MAX_SEGMENT_ENTRIES, this.#options.store.maxLayers - LAYER_MARGIN);
    while (this.#asserted.length > 0) {
      const [chunk, rest] = takeAsserted(this.#asserted, room);
      this.#asserted = rest;
      const last = rest.length === 0 && this.#staged.length === 0;
      await this.#write({ staged: [], asserted: chunk, roots: last ? roots : [] });
      if (last) return;
    }
    await this.#write({ staged: this.#staged, asserted: [], roots });
    this.#staged = [];
    this.#layers = 0;
    this.#lastCommit = this.#options.now().getTime();
  }

  async #write(batch: Parameters<typeof commitBatch>[0]): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const segment = await commitBatch(batch, this.#options);
    this.segments.push(segment);
    this.#onEvent({ type: 'committed', tag: segment.tag, entries: segment.entries });
  }
}

/** Layers kept free for the entries blob and for packs, of which a segment's worth of small paths fills some 10. */
const LAYER_MARGIN = 40;

function takeAsserted(
  asserted: readonly BackedEntry[],
  room: number,
): [readonly BackedEntry[], readonly BackedEntry[]] {
  const digests = new Set<string>();
  let count = 0;
  for (const { blobs } of asserted) {
    for (const { digest } of blobs) digests.add(digest);
    if (count > 0 && digests.size > room) break;
    if (++count === MAX_SEGMENT_ENTRIES) break;
  }
  return [asserted.slice(0, count), asserted.slice(count)];
}
