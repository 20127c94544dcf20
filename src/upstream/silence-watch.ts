/** Notices that a far side answers nobody, and gives up on all who wait for it at once. */
import type { Clock } from '../http/clock.ts';

export interface SilencePolicy {
  /** How long nothing may come, while something is asked for, of a far side that answers quickly otherwise. */
  readonly quietMs: number;
  /** The same of one that has not answered yet: it may be slow, or start from cold. */
  readonly firstMs: number;
  /** The same of a slow one, as a multiple of what its slow answers take. */
  readonly latencies: number;
  /** After so much waiting in vain by callers who leave before `quietMs` are over, it is looked into. */
  readonly suspectMs: number;
}

export interface SilenceWatchOptions {
  readonly policy: SilencePolicy;
  readonly clock: Pick<Clock, 'now'>;
  /** What an ask rejects with that has waited for `ms` while nobody was answered. */
  readonly silent: (ms: number) => Error;
  /** Nobody was answered for a while, and nobody stayed to see why. */
  readonly onSuspicion: () => void;
}

/** How fast a slow answer is forgotten: by the seventieth after it, half. */
const FADING = 0.99;

export class SilenceWatch {
  readonly #options: SilenceWatchOptions;
  #heardAt = Number.NEGATIVE_INFINITY;
  /** Of the slow ones among the last answers. */
  #latencyMs: number | undefined;
  /** Waited in vain since something was heard. */
  #vainMs = 0;

  constructor(options: SilenceWatchOptions) {
    this.#options = options;
  }

  /** How long the far side may answer nobody. */
  get limitMs(): number {
    const { quietMs, firstMs, latencies } = this.#options.policy;
    return this.#latencyMs === undefined ? firstMs : Math.max(quietMs, latencies * this.#latencyMs);
  }

  /**
   * Runs `act`, whose signal aborts with `signal`, or once nobody was answered for `limitMs` since. `isAnswer` tells which
   * errors show that somebody is there.
   */
  async run<T>(
    act: (signal: AbortSignal) => Promise<T>,
    { signal, isAnswer }: { readonly signal?: AbortSignal | undefined; readonly isAnswer: (error: unknown) => boolean },
  ): Promise<T> {
    const { clock, silent } = this.#options;
    const startedAt = clock.now();
    const stop = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const check = (): void => {
      const leftMs = Math.max(startedAt, this.#heardAt) + this.limitMs - clock.now();
      if (leftMs <= 0) stop.abort(silent(this.limitMs));
      else timer = setTimeout(check, leftMs);
    };
    check();
    try {
      const value = await act(signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]));
      this.heard(clock.now() - startedAt);
      return value;
    } catch (error) {
      if (signal?.aborted) this.#left(startedAt);
      else if (!stop.signal.aborted && isAnswer(error)) this.heard();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Something came, for an answer after `latencyMs`. */
  heard(latencyMs?: number): void {
    this.#heardAt = this.#options.clock.now();
    this.#vainMs = 0;
    if (latencyMs !== undefined) this.#latencyMs = Math.max(latencyMs, (this.#latencyMs ?? 0) * FADING);
  }

  #left(startedAt: number): void {
    const { policy, clock, onSuspicion } = this.#options;
    // Those who wait beside one another wait for the same.
    if (this.#heardAt > startedAt) return;
    this.#vainMs += clock.now() - startedAt;
    if (this.#vainMs < policy.suspectMs) return;
    this.#vainMs = 0;
    onSuspicion();
  }
}
