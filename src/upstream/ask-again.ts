/** Asking once more beside a request that nobody answers: one that was lost on its way never will be. */

export interface AskAgainOptions<T> {
  /** After so much waiting it is asked a second time, and after three times as much a third. */
  readonly afterMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Closes what comes beside what was taken. */
  readonly discard: (value: T) => void;
}

const WAITS = [1, 3];

/** What the first of the requests to end gives, or throws; the others are aborted then. */
export function askAgain<T>(
  ask: (signal: AbortSignal) => Promise<T>,
  { afterMs, signal, discard }: AskAgainOptions<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const stops: AbortController[] = [];
    const timers: NodeJS.Timeout[] = [];
    let isOver = false;
    const end = (stop: AbortController): boolean => {
      if (isOver) return false;
      isOver = true;
      for (const timer of timers) clearTimeout(timer);
      for (const each of stops) if (each !== stop) each.abort();
      return true;
    };
    const start = (): void => {
      const stop = new AbortController();
      stops.push(stop);
      ask(signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal])).then(
        (value) => {
          if (end(stop)) resolve(value);
          else discard(value);
        },
        (error: unknown) => {
          if (end(stop)) reject(error);
        },
      );
    };
    for (const wait of WAITS) timers.push(setTimeout(start, wait * afterMs));
    start();
  });
}
