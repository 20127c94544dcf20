/** Keeps the index fresh beside the requests, which never wait for it. */
import type { CacheReader, RefreshResult } from '../cache/read/cache-reader.ts';
import { messageOf } from '../errors.ts';
import type { ServeEvent } from './serve-options.ts';

export interface IndexRefresherOptions {
  readonly reader: CacheReader;
  readonly ttlMs: number;
  readonly onEvent: (event: ServeEvent) => void;
  /** The index has changed. */
  readonly onChange: () => void;
  readonly random?: (() => number) | undefined;
}

/** After a failure: doubled each time, up to the usual interval. */
const FIRST_RETRY_MS = 5000;

export class IndexRefresher {
  readonly #options: IndexRefresherOptions;
  readonly #stopped = new AbortController();
  #running: Promise<RefreshResult> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #lastError: string | undefined;

  constructor(options: IndexRefresherOptions) {
    this.#options = options;
  }

  /** Begins to refresh, at once and then for ever; waits for the first time up to `waitMs` if nothing is known yet. */
  async start(waitMs: number): Promise<void> {
    const { entries, refreshedAt } = this.#options.reader.status();
    const first = this.refresh().catch(() => {}); // has been reported
    if (entries > 0 || refreshedAt !== undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const waited = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, waitMs);
    });
    await Promise.race([first, waited]);
    clearTimeout(timer);
  }

  /** Refreshes now, or waits for the refresh that is under way. */
  refresh(): Promise<RefreshResult> {
    this.#running ??= this.#refresh().finally(() => {
      this.#running = undefined;
      this.#schedule();
    });
    return this.#running;
  }

  /** Ends a refresh that is under way. */
  stop(): void {
    this.#stopped.abort();
    clearTimeout(this.#timer);
  }

  async #refresh(): Promise<RefreshResult> {
    const { reader, onEvent, onChange } = this.#options;
    try {
      const result = await reader.refresh({ signal: this.#stopped.signal });
      this.#failures = 0;
      if (result.changed) onChange();
      if (result.changed || this.#lastError !== undefined) {
        const { addedSegments, bytes } = result;
        onEvent({ type: 'refreshed', entries: reader.status().entries, addedSegments, bytes });
      }
      this.#lastError = undefined;
      return result;
    } catch (error) {
      const message = messageOf(error);
      this.#failures += 1;
      if (message !== this.#lastError && !this.#stopped.signal.aborted) {
        onEvent({ type: 'refresh-failed', error: message });
      }
      this.#lastError = message;
      throw error;
    }
  }

  #schedule(): void {
    if (this.#stopped.signal.aborted) return;
    const { ttlMs, random = Math.random } = this.#options;
    const retryMs = Math.min(ttlMs, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
    // A tenth more or less, so that many servers do not ask together.
    const delayMs = (this.#failures > 0 ? retryMs : ttlMs) * (0.9 + 0.2 * random());
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.refresh().catch(() => {}); // has been reported
    }, delayMs).unref();
  }
}
