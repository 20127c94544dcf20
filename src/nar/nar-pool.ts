/** Worker threads that turn store paths into compressed NARs, a bounded number at a time. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { NixcacheError } from '../errors.ts';
import type { NarJob, NarResult, NarRunner, WorkerMessage, WorkerReply, WorkerStart } from './nar-job.ts';

/** Compression keeps a core busy each; more than 8 wait for the disk and the network. */
export const defaultWorkers = (): number => Math.min(8, Math.max(2, availableParallelism()));

interface Pending {
  readonly resolve: (result: NarResult) => void;
  readonly reject: (error: unknown) => void;
  readonly onProgress: (bytes: number) => void;
  /** Bytes of the NAR that no message has reported. */
  unreported: number;
}

interface Slot {
  readonly worker: Worker;
  readonly pending: Map<number, Pending>;
}

/**
 * Compressed chunks are 256 KiB outside the heap and a few bytes inside, so a young generation of usual size would hold
 * on to some 60 MB of them; with a small one they are freed as they go (measured: 270 instead of 340 MB resident).
 */
const WORKER_LIMITS = { maxYoungGenerationSizeMb: 1 };

/** Two a worker, one under way and one at hand, so that it never waits for its next. */
const JOBS_PER_WORKER = 2;

export class NarPool implements NarRunner {
  readonly #slots: Slot[] = [];
  readonly #queue: { readonly job: NarJob; readonly pending: Pending }[] = [];
  readonly #size: number;
  /** Seen by all threads; as of WorkerStart. */
  readonly #stopped = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  #nextId = 0;
  #closing: Promise<void> | undefined;

  constructor(size: number = defaultWorkers()) {
    this.#size = size;
  }

  run(job: NarJob, onProgress: (bytes: number) => void): Promise<NarResult> {
    if (this.#closing !== undefined) return Promise.reject(stopped());
    return new Promise((resolve, reject) => {
      this.#queue.push({ job, pending: { resolve, reject, onProgress, unreported: job.narSize } });
      this.#dispatch();
    });
  }

  /** Ends the threads, and returns once they have; jobs that are under way are given up at once. */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    Atomics.store(this.#stopped, 0, 1);
    const error = stopped();
    for (const { pending } of this.#queue.splice(0)) pending.reject(error);
    await Promise.all(
      this.#slots.splice(0).map(async ({ worker, pending }) => {
        for (const { reject } of pending.values()) reject(error);
        pending.clear();
        await end(worker);
      }),
    );
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      if (this.#closing !== undefined) return;
      const slot = this.#freeSlot();
      const next = slot && this.#queue.shift();
      if (!slot || !next) return;
      const id = this.#nextId++;
      slot.pending.set(id, next.pending);
      slot.worker.postMessage({ id, job: next.job } satisfies WorkerMessage);
    }
  }

  #freeSlot(): Slot | undefined {
    const least = this.#slots.toSorted((a, b) => a.pending.size - b.pending.size)[0];
    if (least?.pending.size === 0) return least;
    if (this.#slots.length < this.#size) return this.#addSlot();
    return least && least.pending.size < JOBS_PER_WORKER ? least : undefined;
  }

  #addSlot(): Slot {
    // Type-stripped in tests, compiled elsewhere: the worker is this file's neighbour in either form.
    const file = import.meta.url.endsWith('.ts') ? './nar-worker.ts' : './nar-worker.js';
    const slot: Slot = {
      worker: new Worker(new URL(file, import.meta.url), {
        resourceLimits: WORKER_LIMITS,
        workerData: { stopped: this.#stopped.buffer } satisfies WorkerStart,
      }),
      pending: new Map(),
    };
    slot.worker.on('message', (reply: WorkerReply) => this.#settle(slot, reply));
    slot.worker.on('error', (error) => this.#fail(slot, error));
    slot.worker.on('exit', () => this.#fail(slot, new Error('a NAR worker ended')));
    this.#slots.push(slot);
    return slot;
  }

  #settle(slot: Slot, reply: WorkerReply): void {
    const pending = slot.pending.get(reply.id);
    if (!pending) return;
    if ('progressBytes' in reply) {
      pending.unreported -= reply.progressBytes;
      pending.onProgress(reply.progressBytes);
      return;
    }
    slot.pending.delete(reply.id);
    if ('result' in reply) {
      pending.onProgress(pending.unreported);
      pending.resolve(reply.result);
    } else if (reply.error.code) pending.reject(new NixcacheError(reply.error.code, reply.error.message));
    else pending.reject(new Error(reply.error.message));
    this.#dispatch();
  }

  #fail(slot: Slot, error: Error): void {
    const at = this.#slots.indexOf(slot);
    if (at >= 0) this.#slots.splice(at, 1);
    for (const { reject } of slot.pending.values()) reject(error);
    slot.pending.clear();
    if (this.#closing === undefined) this.#dispatch();
  }
}

/** 4 s: a chunk of xz takes as long, and who was interrupted waits. */
const END_MS = 4000;

/**
 * A thread that is terminated in the middle of its work has been seen to end the process (Node 24.21, an assertion while its
 * objects are freed), so it ends by itself, unless it hangs.
 */
async function end(worker: Worker): Promise<void> {
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage('end' satisfies WorkerMessage);
  const timer = setTimeout(() => void worker.terminate(), END_MS);
  await ended;
  clearTimeout(timer);
}

const stopped = (): NixcacheError => new NixcacheError('ERR_INTERRUPTED', 'the NAR workers were stopped');
