/** How much at once one host bears: found out by asking for less after each refusal and for a little more when all is quiet. */

import { abortReason } from '../call-options.ts';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';

export interface AdaptiveLimitOptions {
  /** Where it starts, and the most it ever allows. */
  readonly max: number;
  /** This long without a refusal allows one more; default 10 s. */
  readonly quietMs?: number | undefined;
  readonly clock?: Pick<Clock, 'now'> | undefined;
}

export class AdaptiveLimit {
  readonly #max: number;
  readonly #quietMs: number;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #waiting = new Set<() => void>();
  #limit: number;
  #active = 0;
  #changedAt = Number.NEGATIVE_INFINITY;
  #halvings = 0;

  constructor({ max, quietMs = 10_000, clock = systemClock }: AdaptiveLimitOptions) {
    this.#max = max;
    this.#limit = max;
    this.#quietMs = quietMs;
    this.#clock = clock;
  }

  /** What is allowed at once now. */
  get limit(): number {
    return this.#limit;
  }

  /** Runs `work` when there is room. `isRefusal` tells from its result or error whether the host wants less. */
  async run<T>(
    work: () => Promise<T>,
    isRefusal: (outcome: { readonly value: T } | { readonly error: unknown }) => boolean,
    signal?: AbortSignal,
  ): Promise<T> {
    await this.#enter(signal);
    const halvings = this.#halvings;
    try {
      const value = await work();
      this.#learn(isRefusal({ value }), halvings);
      return value;
    } catch (error) {
      this.#learn(isRefusal({ error }), halvings);
      throw error;
    } finally {
      this.#active -= 1;
      this.#admit();
    }
  }

  #learn(refused: boolean, halvingsAtStart: number): void {
    const now = this.#clock.now();
    if (refused) {
      // Requests that were under way when the limit was halved tell nothing about the new limit.
      if (halvingsAtStart !== this.#halvings) return;
      this.#halvings += 1;
      this.#limit = Math.max(1, Math.floor(this.#limit / 2));
      this.#changedAt = now;
    } else if (this.#limit < this.#max && now - this.#changedAt >= this.#quietMs) {
      this.#limit += 1;
      this.#changedAt = now;
    }
  }

  #enter(signal: AbortSignal | undefined): Promise<void> | void {
    if (signal?.aborted === true) throw abortReason(signal);
    if (this.#active < this.#limit) {
      this.#active += 1;
      return;
    }
    return new Promise((resolve, reject) => {
      const admitted = (): void => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      };
      const aborted = (): void => {
        this.#waiting.delete(admitted);
        if (signal !== undefined) reject(abortReason(signal));
      };
      signal?.addEventListener('abort', aborted, { once: true });
      this.#waiting.add(admitted);
    });
  }

  #admit(): void {
    for (const admitted of this.#waiting) {
      if (this.#active >= this.#limit) return;
      this.#waiting.delete(admitted);
      this.#active += 1;
      admitted();
    }
  }
}
