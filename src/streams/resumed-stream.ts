/** A download that goes on where it broke off. */
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { NixcacheError } from '../errors.ts';

export interface ResumedStreamOptions {
  /** Bytes that there must be; undefined when only the end of the source tells, and then nothing is resumed. */
  readonly size: number | undefined;
  /** Opens the source from this byte on. */
  reopen(offset: number): Promise<Readable>;
  /** For messages. */
  readonly what: string;
  readonly signal: AbortSignal;
  /** How often in a row it may break off without a byte; default 3. */
  readonly attempts?: number | undefined;
  readonly delayMs?: number | undefined;
}

export class ResumedStream extends Readable {
  readonly #options: ResumedStreamOptions;
  #source: Readable | undefined;
  #position = 0;
  #fruitless = 0;

  constructor(first: Readable, options: ResumedStreamOptions) {
    super({ highWaterMark: 256 * 1024 });
    this.#options = options;
    this.#attach(first);
  }

  override _read(): void {
    this.#source?.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#source?.destroy();
    callback(error);
  }

  #attach(source: Readable): void {
    const { size, what } = this.#options;
    this.#source = source;
    let isOver = false;
    const over = (error: unknown): void => {
      if (isOver) return;
      isOver = true;
      source.destroy();
      if (!this.destroyed) this.#resume(error);
    };
    source.on('data', (chunk: Buffer) => {
      if (isOver) return;
      this.#position += chunk.length;
      this.#fruitless = 0;
      if (size !== undefined && this.#position > size) {
        isOver = true;
        this.destroy(new NixcacheError('ERR_UPSTREAM', `${what} goes on after its ${size} bytes`));
      } else if (!this.push(chunk)) {
        source.pause();
      }
    });
    source.on('end', () => {
      if (size !== undefined && this.#position < size) {
        over(new NixcacheError('ERR_UPSTREAM', `${what} ended after ${this.#position} of ${size} bytes`));
      } else if (!isOver) {
        isOver = true;
        this.push(null);
      }
    });
    source.on('error', over);
    source.on('close', () => over(new NixcacheError('ERR_NETWORK', `${what} was closed before its end`)));
  }

  #resume(error: unknown): void {
    const { attempts = 3, delayMs = 200, reopen, signal, size } = this.#options;
    const failure = error instanceof Error ? error : new Error(String(error));
    this.#fruitless += 1;
    if (size === undefined || signal.aborted || this.#fruitless >= attempts) {
      this.destroy(failure);
      return;
    }
    delay(delayMs * this.#fruitless, undefined, { signal })
      .then(() => reopen(this.#position))
      .then(
        (source) => {
          if (this.destroyed) source.destroy();
          else this.#attach(source);
        },
        (next: unknown) => {
          if (!this.destroyed) this.#resume(next);
        },
      );
  }
}
