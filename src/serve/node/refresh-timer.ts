import { abortable, type CallOptions } from '../../call-options.ts';
import type { IndexRefresher } from '../index-refresher.ts';

/** Keeps the index fresh: each refresh, whoever asked for it, sets the clock for the next. */
export class RefreshTimer {
  readonly #refresher: IndexRefresher;
  readonly #stopped = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(refresher: IndexRefresher) {
    this.#refresher = refresher;
    refresher.onEnd = () => this.#schedule();
  }

  /** Begins to refresh, at once and then for ever; waits up to `waitMs`, or until `signal` aborts, for the first time to end. */
  async start(waitMs: number, { signal }: CallOptions = {}): Promise<void> {
    const first = this.#refresh();
    let timer: NodeJS.Timeout | undefined;
    const waited = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, waitMs);
    });
    await abortable(Promise.race([first, waited]), signal).catch(() => {});
    clearTimeout(timer);
  }

  /** Ends a refresh that is under way and that no request waits for. */
  stop(): void {
    this.#stopped.abort();
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#stopped.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#refresh(), this.#refresher.nextDelayMs()).unref();
  }

  async #refresh(): Promise<void> {
    await this.#refresher.refresh({ signal: this.#stopped.signal }).catch(() => {}); // has been reported
  }
}
