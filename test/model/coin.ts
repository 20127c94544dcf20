import { randomInt } from 'node:crypto';
import { onTestFailed } from 'vitest';

/** Chance that is the same each time: mulberry32, public domain, by Tommy Ettinger. */
export class Coin {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** From 0 up to, but without, `below`. */
  next(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  /** True for `share` of all throws. */
  falls(share: number): boolean {
    return share > 0 && this.next(1000) < share * 1000;
  }
}

/** The coin of one test, which names its seed if it fails: NIXCACHE_TEST_SEED makes the same throws again. */
export function tossed(): Coin {
  const seed = Number(process.env['NIXCACHE_TEST_SEED'] ?? randomInt(2 ** 31));
  onTestFailed(({ task }) => void process.stderr.write(`${task.name}: NIXCACHE_TEST_SEED=${seed}\n`));
  return new Coin(seed);
}
