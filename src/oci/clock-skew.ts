/** How far the clock of a store is ahead of ours, as long as ours is not set anew. */

/** By so much more than time has passed, our clock was set meanwhile. */
const STEP_MS = 5000;

export class ClockSkew {
  #ms: number | undefined;
  /** What our clock was ahead of the time since the process began, when that was learnt. */
  #base = 0;

  /** In milliseconds; undefined where it is not known, or not any more. */
  get ms(): number | undefined {
    return this.#ms === undefined || Math.abs(sinceBegun() - this.#base) > STEP_MS ? undefined : this.#ms;
  }

  learn(ms: number): void {
    this.#ms = ms;
    this.#base = sinceBegun();
  }
}

const sinceBegun = (): number => Date.now() - performance.now();
