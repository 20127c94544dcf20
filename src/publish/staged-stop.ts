/** How a push ends early: nothing more is read, then nothing more is uploaded, then nothing more is asked of the store. */
import { abortReason, type CallOptions } from '../call-options.ts';

export interface StopLimits {
  /** Milliseconds that uploads under way still have. */
  readonly uploadMs: number;
  /** Milliseconds that all has, commits too. */
  readonly endMs: number;
}

export const STOP_LIMITS: Readonly<Record<'interrupt' | 'failure', StopLimits>> = {
  // Somebody waits, and GitHub sends a second signal after 7.5 s: `cache-index` is still to be written in that time.
  interrupt: { uploadMs: 3000, endMs: 4500 },
  // What the store has refused, or failed at, may be all that is wrong with it.
  failure: { uploadMs: 20_000, endMs: 30_000 },
};

export interface StagedStopOptions extends CallOptions {
  /** What is done first. */
  readonly onStop: () => void;
  readonly limits?: typeof STOP_LIMITS | undefined;
}

export class StagedStop implements Disposable {
  readonly #taking = new AbortController();
  readonly #uploading = new AbortController();
  readonly #all = new AbortController();
  readonly #options: StagedStopOptions;
  #timers: readonly NodeJS.Timeout[] = [];

  constructor(options: StagedStopOptions) {
    this.#options = options;
    const { signal } = options;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) this.#onAbort();
  }

  /** Each aborts with those behind it. */
  get signals(): { readonly taking: AbortSignal; readonly uploading: AbortSignal; readonly signal: AbortSignal } {
    return { taking: this.#taking.signal, uploading: this.#uploading.signal, signal: this.#all.signal };
  }

  /** Stops because of `failure`, unless it stops already. */
  fail(failure: unknown): void {
    if (!this.#taking.signal.aborted) this.#stop(failure, 'failure');
  }

  #stop(reason: unknown, kind: keyof typeof STOP_LIMITS): void {
    const { uploadMs, endMs } = (this.#options.limits ?? STOP_LIMITS)[kind];
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [
      setTimeout(() => this.#uploading.abort(reason), uploadMs),
      setTimeout(() => this.#all.abort(reason), endMs),
    ];
    if (this.#taking.signal.aborted) return;
    this.#taking.abort(reason);
    this.#options.onStop();
  }

  [Symbol.dispose](): void {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** Also while it stops for another reason: then within the time that an interruption has, from now on. */
  readonly #onAbort = (): void => this.#stop(abortReason(this.#options.signal), 'interrupt');
}
