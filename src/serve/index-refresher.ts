/** Learns what is new in the cache beside the requests, which never wait for it. Whoever has timers drives it. */
import type { CacheReader, RefreshResult } from '../cache/read/cache-reader.ts';
import { abortable, type CallOptions } from '../call-options.ts';
import { messageOf } from '../errors.ts';
import { SharedWork } from '../shared-work.ts';
import type { Counters, ServeEvent } from './serve-options.ts';

export interface IndexRefresherOptions {
  readonly reader: Pick<CacheReader, 'refresh' | 'status'>;
  readonly ttlMs: number;
  readonly onEvent: (event: ServeEvent) => void;
  /** The index has changed. */
  readonly onChange: () => void;
  readonly counters?: Pick<Counters, 'refreshes' | 'refreshFailures'> | undefined;
  /** A refresh has ended, however. */
  readonly onRefreshed?: (() => void) | undefined;
  readonly random?: (() => number) | undefined;
  readonly now?: (() => Date) | undefined;
}

/** How long it holds up misses that no index is known yet. */
const MAX_FIRST_LOAD_MS = 30_000;

/** After a failure: doubled each time, up to the usual interval. */
const FIRST_RETRY_MS = 5000;

/** As `IndexRefresher.firstLoad`. */
export type FirstLoad = () => ((options: CallOptions) => Promise<void>) | undefined;

export class IndexRefresher {
  readonly #options: IndexRefresherOptions;
  readonly #shared = new SharedWork((signal) => this.#refresh(signal));
  /** Called after each refresh, whoever asked for it and however it ended. */
  onEnd: () => void = () => {};
  #failures = 0;
  #lastError: string | undefined;
  #isEmpty = false;
  /** The first refresh, in whatever way it ends; undefined once it has. */
  #first: { readonly ended: Promise<unknown>; readonly startedAt: number } | undefined;
  #hasBegun = false;

  constructor(options: IndexRefresherOptions) {
    this.#options = options;
  }

  /** Refreshes now, or waits for the refresh that is under way, which ends when nobody waits for it any more. */
  refresh(options: CallOptions = {}): Promise<RefreshResult> {
    const refreshed = this.#shared.join(options);
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      const end = (): void => {
        this.#first = undefined;
      };
      this.#first = { ended: refreshed.then(end, end), startedAt: this.#nowMs() };
    }
    return refreshed;
  }

  /**
   * While nothing is known of the cache yet and that is being changed: what resolves once there is something, or it has taken
   * too long. Undefined at all other times. Who began to look before it ended looks again: Nix remembers a miss for an hour.
   */
  firstLoad(): ((options: CallOptions) => Promise<void>) | undefined {
    const first = this.#first;
    if (first === undefined || this.#options.reader.status().entries > 0) return undefined;
    const endsAt = first.startedAt + MAX_FIRST_LOAD_MS;
    if (endsAt <= this.#nowMs()) return undefined;
    return async ({ signal }) => {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, endsAt - this.#nowMs());
      await abortable(Promise.race([first.ended, late]), signal).catch(() => {});
      clearTimeout(timer);
    };
  }

  /** How long the index is good for from now on. A tenth more or less, so that many servers do not ask together. */
  nextDelayMs(): number {
    const { ttlMs, random = Math.random } = this.#options;
    const retryMs = Math.min(ttlMs, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
    return (this.#failures > 0 ? retryMs : ttlMs) * (0.9 + 0.2 * random());
  }

  async #refresh(signal: AbortSignal): Promise<RefreshResult> {
    const { reader, onEvent, onChange, counters } = this.#options;
    try {
      const result = await reader.refresh({ signal });
      this.#failures = 0;
      if (counters) counters.refreshes += 1;
      if (result.changed) onChange();
      if (result.changed || this.#lastError !== undefined) {
        const { addedSegments, bytes } = result;
        onEvent({ type: 'refreshed', entries: reader.status().entries, addedSegments, bytes });
      }
      this.#lastError = undefined;
      const { segments, uploaded = 0 } = reader.status();
      const isEmpty = segments === 0 && uploaded === 0;
      if (isEmpty && !this.#isEmpty) onEvent({ type: 'nothing-there' });
      this.#isEmpty = isEmpty;
      return result;
    } catch (error) {
      if (!signal.aborted) this.#failed(messageOf(error));
      throw error;
    } finally {
      this.#options.onRefreshed?.();
      this.onEnd();
    }
  }

  #nowMs(): number {
    const { now = () => new Date() } = this.#options;
    return now().getTime();
  }

  #failed(message: string): void {
    this.#failures += 1;
    if (this.#options.counters) this.#options.counters.refreshFailures += 1;
    if (message !== this.#lastError) this.#options.onEvent({ type: 'refresh-failed', error: message });
    this.#lastError = message;
  }
}
