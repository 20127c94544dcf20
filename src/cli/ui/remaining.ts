/**
 * How long work still takes: told only while it goes steadily. A push reads what is at hand in seconds, and then waits for the
 * network, or has a thousand small paths before one large: an average over all of it is off by a factor of ten.
 */

interface Sample {
  readonly atMs: number;
  /** From 0 to 1. */
  readonly share: number;
}

/** Nothing is told before. */
const SETTLED_MS = 10_000;
/** What is looked at is the last third, in two halves. */
const WINDOW_SHARE = 1 / 3;
const MIN_WINDOW_MS = 10_000;
/** By how much the halves may differ in speed. */
const MAX_UNSTEADINESS = 1.7;
const SAMPLE_EVERY_MS = 500;
const MAX_SAMPLES = 400;

export class Remaining {
  #samples: readonly Sample[];
  #startedMs: number;

  constructor(startedMs: number) {
    this.#startedMs = startedMs;
    this.#samples = [{ atMs: startedMs, share: 0 }];
  }

  /** At `atMs` so much was done. Less than before: there is more to do than was known, and all begins anew. */
  note(atMs: number, share: number): void {
    const last = this.#samples.at(-1);
    if (last && share < last.share) {
      this.#startedMs = atMs;
      this.#samples = [{ atMs, share }];
    } else if (!last || atMs - last.atMs >= SAMPLE_EVERY_MS) this.#add({ atMs, share });
  }

  /** Milliseconds; undefined where nobody can tell. */
  estimate(nowMs: number, share: number): number | undefined {
    const elapsedMs = nowMs - this.#startedMs;
    if (share <= 0 || share >= 1 || elapsedMs < SETTLED_MS) return undefined;
    const halfMs = Math.max(MIN_WINDOW_MS, elapsedMs * WINDOW_SHARE) / 2;
    const middle = this.#shareAt(nowMs - halfMs);
    const before = middle - this.#shareAt(nowMs - 2 * halfMs);
    const lately = share - middle;
    const [slow, fast] = before < lately ? [before, lately] : [lately, before];
    if (slow <= 0 || fast / slow > MAX_UNSTEADINESS) return undefined;
    return rounded(((1 - share) * 2 * halfMs) / (before + lately));
  }

  #add(sample: Sample): void {
    const samples = [...this.#samples, sample];
    // Every second one of more: what matters is long ago in proportion.
    this.#samples = samples.length <= MAX_SAMPLES ? samples : samples.filter((_, i) => i % 2 === 0);
  }

  /** In between two samples, as if it had gone evenly. */
  #shareAt(atMs: number): number {
    const after = this.#samples.findIndex((each) => each.atMs >= atMs);
    const [low, high] = [this.#samples[Math.max(after - 1, 0)], this.#samples[after]];
    if (!high) return this.#samples.at(-1)?.share ?? 0;
    if (!low || high.atMs === low.atMs) return high.share;
    return low.share + ((high.share - low.share) * (atMs - low.atMs)) / (high.atMs - low.atMs);
  }
}

/** To what somebody can rely on. */
function rounded(ms: number): number {
  const stepMs = ms < 60_000 ? 1000 : ms < 10 * 60_000 ? 10_000 : 60_000;
  return Math.max(Math.round(ms / stepMs), 1) * stepMs;
}
