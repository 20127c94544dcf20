import { abortReason, type CallOptions } from '../call-options.ts';

/** So many at once; others wait in the order in which they came. */
export class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** Waits for a slot, which is free again when what this gives is called; further calls do nothing. */
  async take({ signal }: CallOptions = {}): Promise<() => void> {
    if (signal?.aborted) throw abortReason(signal);
    if (this.#free === 0) await this.#turn(signal);
    else this.#free -= 1;
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const [next] = this.#waiting;
      if (next === undefined) this.#free += 1;
      else next();
    };
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(take);
        reject(abortReason(signal));
      };
      const take = (): void => {
        this.#waiting.delete(take);
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      this.#waiting.add(take);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }
}
