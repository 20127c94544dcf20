/** A download that goes on where it broke off. */
import { Readable, type Transform } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { abortReason, type CallOptions } from '../call-options.ts';
import { readThrough } from './verify.ts';

/** What gives bytes from some offset on. */
export interface Opened {
  readonly body: Readable;
  /** Bytes of the body that lie before that offset. */
  readonly skip?: number;
}

export interface Failure {
  readonly error: unknown;
  /** How many there were in a row without a byte, this one included. */
  readonly fruitless: number;
  /** Whether nothing could be opened. Otherwise what was open broke off, or ended too soon. */
  readonly opening: boolean;
}

export interface ResumeOptions extends CallOptions {
  /** Opens the source from this byte on; the signal ends it. */
  open(offset: number, signal: AbortSignal): Promise<Opened>;
  /** Bytes that there must be, as far as that is known by now; undefined while only the source's end tells. */
  size(): number | undefined;
  /** The error of a source that ended after so many bytes. */
  endedAt(position: number): Error;
  /** Returns when it is time to try again, and throws when it is not worth it. Default: three tries, where the size is known. */
  retry?(failure: Failure, signal: AbortSignal): Promise<void>;
  /** The error to end in instead of that of the last try, where `retry` is the default. */
  givenUp?(error: unknown): unknown;
  /** Whether what lies behind the size is left unread, as from a server that ignores ranges; else `check` gets to see it. */
  readonly cut?: boolean;
  /** Bytes that wait between the source and the reader. */
  readonly bufferBytes?: number;
}

const ATTEMPTS = 3;
const DELAY_MS = 200;

/**
 * What `check` lets through of the source, opened again as often as it breaks. Whatever is under way ends with it.
 *
 * @throws what the first `open` throws
 */
export async function openResumed(options: ResumeOptions, check: Transform): Promise<Readable> {
  const { signal, bufferBytes = 256 * 1024 } = options;
  if (signal?.aborted) throw abortReason(signal);
  const stop = new AbortController();
  const forward = (): void => stop.abort(signal?.reason);
  const end = (): void => signal?.removeEventListener('abort', forward);
  signal?.addEventListener('abort', forward, { once: true });
  try {
    const first = await options.open(0, stop.signal);
    // Whoever reads it hears of it; before the first read that is nobody.
    first.body.on('error', () => undefined);
    const chunks = new Resumption(options, stop.signal).chunks(first);
    const source = Readable.from(chunks, { objectMode: false, highWaterMark: bufferBytes });
    return readThrough(source, check, { signal }).once('close', () => {
      end();
      stop.abort();
      first.body.destroy();
    });
  } catch (error) {
    end();
    throw error;
  }
}

class Resumption {
  readonly #options: ResumeOptions;
  readonly #signal: AbortSignal;
  #position = 0;

  constructor(options: ResumeOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async *chunks(first: Opened): AsyncGenerator<Buffer> {
    const { open, retry = this.#retryThrice } = this.#options;
    let opened: Opened | undefined = first;
    try {
      for (let fruitless = 0; ; ) {
        const before = this.#position;
        let failure = yield* this.#read(opened);
        if (!failure) return;
        opened.body.destroy();
        fruitless = this.#position > before ? 0 : fruitless;
        for (opened = undefined; !opened; ) {
          await retry({ ...failure, fruitless: ++fruitless }, this.#signal);
          try {
            opened = await open(this.#position, this.#signal);
          } catch (error) {
            failure = { error, opening: true };
          }
        }
      }
    } finally {
      opened?.body.destroy();
    }
  }

  /** Gives out what the body holds; returns why it broke off, or undefined when all is there. */
  async *#read({ body, skip = 0 }: Opened): AsyncGenerator<Buffer, Omit<Failure, 'fruitless'> | undefined> {
    const { size, endedAt, cut = false } = this.#options;
    const chunks: AsyncIterator<Buffer> = body[Symbol.asyncIterator]();
    for (let before = skip; ; ) {
      const wanted = cut ? (size() ?? Number.POSITIVE_INFINITY) - this.#position : Number.POSITIVE_INFINITY;
      if (wanted === 0) return undefined;
      let next: IteratorResult<Buffer>;
      try {
        next = await chunks.next();
      } catch (error) {
        return { error, opening: false };
      }
      if (next.done === true) break;
      const skipped = Math.min(before, next.value.length);
      before -= skipped;
      const chunk = next.value.subarray(skipped, skipped + wanted);
      this.#position += chunk.length;
      if (chunk.length > 0) yield chunk;
    }
    const isWhole = this.#position >= (size() ?? 0);
    return isWhole ? undefined : { error: endedAt(this.#position), opening: false };
  }

  #retryThrice = async ({ error, fruitless }: Failure): Promise<void> => {
    if (this.#options.size() === undefined || this.#signal.aborted || fruitless >= ATTEMPTS) {
      throw this.#options.givenUp?.(error) ?? error;
    }
    await delay(DELAY_MS * fruitless, undefined, { signal: this.#signal });
  };
}
