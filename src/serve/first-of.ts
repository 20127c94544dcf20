/** Asking several at once, each with a head start before the next. */

/**
 * The first value that `ask` finds, asking of `candidates` the first at once, each further one `headStartMs` after the
 * one before it or as soon as that one has nothing. The others are aborted then. Undefined when none has it;
 * `onFailure` hears of those that failed.
 */
export function firstOf<C, T>(
  candidates: readonly C[],
  ask: (candidate: C, signal: AbortSignal) => Promise<T | undefined>,
  options: {
    readonly headStartMs: number;
    readonly signal: AbortSignal;
    readonly onFailure: (candidate: C, error: unknown) => void;
    /** Closes what comes too late. */
    readonly discard?: ((value: T) => void) | undefined;
  },
): Promise<T | undefined> {
  const { headStartMs, signal, onFailure, discard } = options;
  return new Promise((resolve) => {
    const aborts: AbortController[] = [];
    const timers: NodeJS.Timeout[] = [];
    let next = 0;
    let pending = 0;
    let settled = false;

    const settle = (value: T | undefined, winner?: AbortController): void => {
      settled = true;
      for (const timer of timers) clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      for (const abort of aborts) if (abort !== winner) abort.abort();
      resolve(value);
    };
    const onAbort = (): void => {
      if (!settled) settle(undefined);
    };
    const startNext = (): void => {
      const candidate = candidates[next];
      if (settled || candidate === undefined) return;
      const position = next;
      next += 1;
      pending += 1;
      const abort = new AbortController();
      aborts.push(abort);
      timers.push(
        setTimeout(() => {
          if (next === position + 1) startNext();
        }, headStartMs),
      );
      const done = (value: T | undefined): void => {
        pending -= 1;
        if (settled) {
          if (value !== undefined) discard?.(value);
        } else if (value !== undefined) {
          settle(value, abort);
        } else {
          if (next === position + 1) startNext();
          if (pending === 0 && next === candidates.length) settle(undefined);
        }
      };
      ask(candidate, abort.signal).then(done, (error: unknown) => {
        if (!settled) onFailure(candidate, error);
        done(undefined);
      });
    };
    if (signal.aborted || candidates.length === 0) {
      resolve(undefined);
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    startNext();
  });
}
