/** What time it is at a registry, by the Date of its answers. */
import type { HttpHeaders } from '../../http/http-fetch.ts';

/** Date has whole seconds, and has been on its way. */
const HALF_SECOND_MS = 500;
/** By so much more than time has passed, our clock was set meanwhile. */
const STEP_MS = 5000;

export class ClockSkew {
  #ms: number | undefined;
  /** What our clock was ahead of the time since the process began, when that was learnt. */
  #base = 0;

  /** How far the registry's clock is ahead of ours. */
  get ms(): number | undefined {
    return this.#ms === undefined || this.#isStepped() ? undefined : this.#ms;
  }

  /** An answer has come. */
  heard({ date, age }: HttpHeaders): void {
    const theirs = Date.parse(date ?? '');
    if (Number.isNaN(theirs)) return;
    const ageMs = /^[0-9]{1,9}$/.test(age ?? '') ? Number(age) * 1000 : 0;
    const ms = theirs + HALF_SECOND_MS + ageMs - Date.now();
    // What a cache has kept, without saying so, only looks as if the registry's clock were behind.
    if (this.ms !== undefined && ms < this.ms + 2 * HALF_SECOND_MS) return;
    this.#ms = ms;
    this.#base = sinceBegun();
  }

  #isStepped(): boolean {
    return Math.abs(sinceBegun() - this.#base) > STEP_MS;
  }
}

const sinceBegun = (): number => Date.now() - performance.now();
