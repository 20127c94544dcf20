/**
 * One download, read by any number of readers: those that come late begin at its beginning all the same, and each goes at its
 * own pace. What was received waits in a spool for those that are behind; the newest of it is also in memory. It ends with the
 * last reader, or when all is there.
 *
 * Without a spool, or when that fails, what somebody still has to read is kept in memory, and the source waits while that is
 * too much: then readers do hold each other up, and nobody can join any more who would need what is gone.
 */
import { Readable } from 'node:stream';
import { abortable, abortReason, type CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import type { ByteRange } from '../streams/byte-range.ts';
import type { Spool } from './object-cache.ts';

export interface DownloadOptions<S extends Spool> {
  /** Bytes that may be handed on as they come; of wholes, the last ones only once all is known to be right. */
  readonly open: (signal: AbortSignal) => Promise<Readable | Buffer>;
  readonly begin: () => Promise<S | undefined>;
  /** All has been received, right, and is in `spool`. */
  readonly onWhole: (spool: S) => Promise<unknown>;
  readonly onChunk: (chunk: Buffer) => void;
  /** Whoever comes from now on begins another. */
  readonly onOver: () => void;
  /** How far the source may be ahead of who reads fastest, where bytes go into `spool`. */
  readonly aheadBytes: (spool: S) => number;
}

export interface JoinOptions extends CallOptions {
  readonly range?: ByteRange | undefined;
  /** Whether what was received may be believed before all was: of a range, nothing else tells. */
  readonly isChecked: boolean;
}

/** Nothing was kept of it, and so a range of it cannot be had from here. */
export class UnkeptError extends Error {}

/** 1 MiB: as much as each piece, which comes at once. */
const RECENT_BYTES = 1024 * 1024;
/** What waits in memory without a spool. */
const UNSPOOLED_BYTES = 4 * 1024 * 1024;
const READ_BYTES = 256 * 1024;

interface Reader {
  position: number;
  isClosed: boolean;
}

export class Download<S extends Spool = Spool> {
  readonly #options: DownloadOptions<S>;
  readonly #stop = new AbortController();
  readonly #readers = new Set<Reader>();
  #users = 0;
  #spool: S | undefined;
  #canSpool = true;
  /** The newest chunks, end to end, from `#recentStart` to `#end`. */
  readonly #recent: Buffer[] = [];
  #recentStart = 0;
  #end = 0;
  #spooled = 0;
  #state: 'coming' | 'whole' | 'failed' = 'coming';
  #error: unknown;
  /** Whether nothing is done with the spool any more but reading. */
  #isSettled = false;
  #changed = Promise.withResolvers<void>();
  readonly #begun = Promise.withResolvers<void>();
  readonly #whole = Promise.withResolvers<void>();

  constructor(options: DownloadOptions<S>) {
    this.#options = options;
    for (const { promise } of [this.#begun, this.#whole]) promise.catch(() => undefined); // for who does not wait
    void this.#run();
  }

  /** Whether all from its beginning on is still to be had from it. */
  get isJoinable(): boolean {
    return this.#state !== 'failed' && !this.#stop.signal.aborted && this.#recentStart <= this.#spooled;
  }

  /** So much has come. */
  get receivedBytes(): number {
    return this.#end;
  }

  /**
   * Reads it, or a range of it, from its beginning on.
   *
   * @throws {UnkeptError} for ranges; what opening the source throws
   */
  async join({ range, isChecked, signal }: JoinOptions): Promise<Readable | Buffer> {
    const reader: Reader = { position: range?.offset ?? 0, isClosed: false };
    const isLate = range !== undefined && !isChecked;
    this.#users += 1;
    if (!isLate) this.#readers.add(reader);
    const leave = (): void => {
      if (reader.isClosed) return;
      reader.isClosed = true;
      this.#readers.delete(reader);
      this.#users -= 1;
      this.#notify();
      if (this.#users === 0) this.#leftAlone();
    };
    try {
      await abortable((isLate ? this.#whole : this.#begun).promise, signal);
      if (range !== undefined && this.#recentStart > this.#spooled) throw new UnkeptError();
      const [only] = this.#recent;
      if (this.#state === 'whole' && this.#recentStart === 0 && this.#recent.length === 1 && only !== undefined) {
        leave();
        return range === undefined ? only : only.subarray(range.offset, range.offset + range.length);
      }
      const end = range === undefined ? Number.POSITIVE_INFINITY : range.offset + range.length;
      const chunks = this.#read(reader, end);
      const abort = (): void => void stream.destroy(abortReason(signal));
      const stream: Readable = new Readable({
        read: () => {
          chunks.next().then(
            ({ value }) => stream.push(value ?? null),
            (error: Error) => stream.destroy(error),
          );
        },
        // At once, though its reader may be waiting for what never comes.
        destroy: (error, callback) => {
          signal?.removeEventListener('abort', abort);
          leave();
          callback(error);
        },
      });
      signal?.addEventListener('abort', abort, { once: true });
      return stream;
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #run(): Promise<void> {
    const { open, begin, onWhole, onOver } = this.#options;
    const { signal } = this.#stop;
    const beginning = begin().catch(() => undefined);
    try {
      const source = await open(signal);
      if (Buffer.isBuffer(source)) {
        this.#receive(source);
        this.#isWhole();
        await this.#keep(source, beginning);
      } else {
        for await (const chunk of source as AsyncIterable<Buffer>) await this.#take(chunk, beginning);
        signal.throwIfAborted();
        this.#isWhole();
      }
      const spool = await beginning;
      if (spool !== undefined && this.#spooled === this.#end) await onWhole(spool);
    } catch (error) {
      this.#error = signal.aborted ? abortReason(signal) : error;
      this.#state = 'failed';
      this.#begun.reject(this.#error);
      this.#whole.reject(this.#error);
      this.#notify();
    }
    onOver();
    this.#spool = await beginning;
    this.#isSettled = true;
    if (this.#users === 0) this.#spool?.close();
  }

  async #take(chunk: Buffer, beginning: Promise<S | undefined>): Promise<void> {
    if (chunk.length === 0) return;
    this.#receive(chunk);
    this.#begun.resolve();
    this.#notify();
    await this.#keep(chunk, beginning);
    this.#trim();
    while (this.#isFarAhead() && !this.#stop.signal.aborted) {
      await this.#changed.promise;
      this.#trim();
    }
  }

  #isFarAhead(): boolean {
    if (!this.#canSpool) return this.#end - Math.max(this.#recentStart, this.#spooled) > UNSPOOLED_BYTES;
    // Who waits for all of it reads nothing before.
    if (this.#spool === undefined || this.#users > this.#readers.size) return false;
    const fastest = Math.max(0, ...[...this.#readers].map(({ position }) => position));
    return this.#end - fastest > this.#options.aheadBytes(this.#spool);
  }

  #receive(chunk: Buffer): void {
    this.#recent.push(chunk);
    this.#end += chunk.length;
    this.#options.onChunk(chunk);
  }

  #isWhole(): void {
    this.#state = 'whole';
    this.#begun.resolve();
    this.#whole.resolve();
    this.#notify();
  }

  async #keep(chunk: Buffer, beginning: Promise<S | undefined>): Promise<void> {
    if (!this.#canSpool) return;
    this.#spool ??= await beginning;
    try {
      if (this.#spool === undefined) throw new UnkeptError();
      await this.#spool.append(chunk);
      this.#spooled = this.#end;
    } catch {
      this.#canSpool = false;
      this.#whole.reject(new UnkeptError());
    }
  }

  /** Lets go of what is in the spool, or was read by all; of the newest, something stays. */
  #trim(): void {
    const readTo = Math.min(...[...this.#readers].map(({ position }) => position));
    for (let [first] = this.#recent; first !== undefined; [first] = this.#recent) {
      const end = this.#recentStart + first.length;
      if (end > this.#spooled ? end > readTo : this.#end - end < RECENT_BYTES) return;
      this.#recent.shift();
      this.#recentStart = end;
    }
  }

  async *#read(reader: Reader, end: number): AsyncGenerator<Buffer, void, undefined> {
    while (reader.position < end && !reader.isClosed) {
      const chunk = this.#recentAt(reader.position);
      if (chunk !== undefined) {
        const part = chunk.subarray(0, end - reader.position);
        reader.position += part.length;
        this.#notify();
        yield part;
      } else if (reader.position < this.#spooled && this.#spool !== undefined) {
        const length = Math.min(READ_BYTES, this.#spooled - reader.position, end - reader.position);
        const part = await this.#spool.read({ offset: reader.position, length });
        reader.position += part.length;
        this.#notify();
        yield part;
      } else if (this.#state === 'failed') throw this.#error;
      else if (this.#state === 'whole') return;
      else await this.#changed.promise;
    }
  }

  /** What there is in memory from `position` to the end of a chunk. */
  #recentAt(position: number): Buffer | undefined {
    let end = this.#end;
    if (position < this.#recentStart || position >= end) return undefined;
    for (let i = this.#recent.length - 1; i >= 0; i -= 1) {
      const chunk = this.#recent[i] as Buffer;
      const start = end - chunk.length;
      if (position >= start) return chunk.subarray(position - start);
      end = start;
    }
    return undefined;
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #leftAlone(): void {
    if (this.#isSettled) this.#spool?.close();
    else if (this.#state === 'coming') {
      this.#stop.abort(new NixcacheError('ERR_INTERRUPTED', 'nobody reads it any more'));
      this.#options.onOver();
    }
  }
}
