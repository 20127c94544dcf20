/**
 * Runs actors one store call at a time. Every call waits here until it is chosen; between two choices everything runs until
 * nothing is left but waiting calls. So the order of calls, and with it the run, follows from the choices alone.
 */

/** What is done at one step. Zero, the simplest, is: the call that waits longest, now. */
export interface Choices {
  /** From 0 up to, but without, `below`. */
  next(below: number): number;
}

export interface SchedulerOptions {
  readonly choices: Choices;
  /** Called before each call that is let go: time passes, the registry's own work is done. */
  readonly onStep: (choices: Choices) => void;
  /** Why the run is of no more interest. */
  readonly stopped: () => boolean;
}

export class Scheduler {
  readonly #waiting: (() => void)[] = [];
  readonly #held: (() => void)[] = [];
  #isOver = false;

  /** Settles when the caller's turn has come. */
  turn(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Settles when nobody else has anything left to do: everything that can happen before it, does. */
  hold(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    return new Promise((resolve) => this.#held.push(resolve));
  }

  /** Runs until all `actors` are done. */
  async run(actors: readonly Promise<void>[], { choices, onStep, stopped }: SchedulerOptions): Promise<void> {
    let open = actors.length;
    for (const actor of actors) void actor.finally(() => open--);
    for (let idle = 0; ; ) {
      await settled();
      if (open === 0) break;
      if (this.#waiting.length === 0) this.#waiting.push(...this.#held.splice(0, stopped() ? this.#held.length : 1));
      if (this.#waiting.length === 0) {
        if (++idle > MAX_IDLE) throw new Error('an actor waits for something that is no store call');
        continue;
      }
      idle = 0;
      if (stopped()) this.#isOver = true;
      else onStep(choices);
      const [next] = this.#waiting.splice(this.#isOver ? 0 : choices.next(this.#waiting.length), 1);
      next?.();
    }
    this.#isOver = false;
  }
}

/** Rounds of the event loop in which something must happen. */
const MAX_IDLE = 100;

/** Once every promise and `nextTick` that can run has run: actors touch no disk and no clock. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
