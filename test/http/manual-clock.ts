import type { Clock } from '../../src/http/clock.ts';

/** Time that passes only by sleeping, at once. */
export class ManualClock implements Clock {
  readonly sleeps: number[] = [];
  #now = Date.parse('2026-11-20T12:00:00Z');
  readonly #random: () => number;

  constructor({ random = () => 0.5 }: { readonly random?: () => number } = {}) {
    this.#random = random;
  }

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.#random();
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.sleeps.push(ms);
    this.#now += ms;
  }

  advance(ms: number): void {
    this.#now += ms;
  }
}
