/** Long work in short pieces, so that whoever else wants the thread gets it in between. */

/** Resolves once others have had their turn. */
export type Pause = () => Promise<void>;

/** About a millisecond of work, where a step is some ten nanoseconds. */
const STEPS_A_SLICE = 80_000;

/**
 * Counts steps and not time, for there are places where no time passes while nobody waits. Usage:
 * `if (slices.spend(3)) await slices.turn();`
 */
export class Slices {
  readonly #pause: Pause;
  #left = STEPS_A_SLICE;

  constructor(pause: Pause) {
    this.#pause = pause;
  }

  /** Takes `steps` of the slice; whether it is used up, and others are to have their turn. */
  spend(steps: number): boolean {
    this.#left -= steps;
    return this.#left <= 0;
  }

  async turn(): Promise<void> {
    this.#left = STEPS_A_SLICE;
    await this.#pause();
  }
}

/** Sorted at once, before they are merged. */
const RUN = 1024;
/** Steps of a comparison. */
const COMPARISON = 10;

/** The numbers from 0 up to but without `count` in the order of `compare`. */
export async function sortedNumbers(
  count: number,
  compare: (a: number, b: number) => number,
  slices: Slices,
): Promise<Uint32Array> {
  let from = Uint32Array.from({ length: count }, (_, i) => i);
  let to = new Uint32Array(count);
  for (let start = 0; start < count; start += RUN) {
    from.subarray(start, start + RUN).sort(compare);
    if (slices.spend(RUN * COMPARISON * 10)) await slices.turn();
  }
  for (let width = RUN; width < count; width *= 2) {
    for (let start = 0; start < count; start += 2 * width) {
      const middle = Math.min(start + width, count);
      const end = Math.min(start + 2 * width, count);
      let left = start;
      let right = middle;
      for (let at = start; at < end; at++) {
        const isLeft = right >= end || (left < middle && compare(from[left] ?? 0, from[right] ?? 0) <= 0);
        to[at] = (isLeft ? from[left++] : from[right++]) ?? 0;
        if (slices.spend(COMPARISON)) await slices.turn();
      }
    }
    [from, to] = [to, from];
  }
  return from;
}
