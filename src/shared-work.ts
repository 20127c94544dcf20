/** Work that several callers wait for at once, done once. Imported by all, like call-options.ts. */
import { abortReason, type CallOptions } from './call-options.ts';

interface Run<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  waiters: number;
}

/**
 * Whoever comes while the work is under way joins it. It runs on a signal of its own: a caller's abort is that caller's
 * error alone, and only when the last one has left is the work aborted.
 */
export class SharedWork<T> {
  readonly #work: (signal: AbortSignal) => Promise<T>;
  readonly #keeps: boolean;
  #kept: { readonly value: T } | undefined;
  #run: Run<T> | undefined;
  /** Settles when no abandoned run is at work any more: two never overlap. */
  #abandoned: Promise<unknown> = Promise.resolve();

  /** With `keeps` the result, once there is one, is that of all who come later. */
  constructor(work: (signal: AbortSignal) => Promise<T>, { keeps = false }: { readonly keeps?: boolean } = {}) {
    this.#work = work;
    this.#keeps = keeps;
  }

  get isUnderWay(): boolean {
    return this.#run !== undefined;
  }

  /** The result of the run under way, or of a new one. Rejects with the signal's reason as soon as `signal` is aborted. */
  async join({ signal }: CallOptions = {}): Promise<T> {
    if (signal?.aborted) throw abortReason(signal);
    if (this.#kept) return this.#kept.value;
    this.#run ??= this.#start();
    const run = this.#run;
    run.waiters++;
    if (!signal) return run.result;
    let leave = (): void => undefined;
    const left = new Promise<never>((_, reject) => {
      leave = () => reject(abortReason(signal));
    });
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([run.result, left]);
    } finally {
      signal.removeEventListener('abort', leave);
      run.waiters--;
      if (run.waiters === 0 && this.#run === run) this.#abandon(run, signal);
    }
  }

  #start(): Run<T> {
    const controller = new AbortController();
    const result = this.#abandoned.then(() => this.#work(controller.signal));
    const run: Run<T> = { result, controller, waiters: 0 };
    const end = (): void => {
      if (this.#run === run) this.#run = undefined;
    };
    result.then((value) => {
      if (this.#keeps) this.#kept = { value };
      end();
    }, end);
    return run;
  }

  #abandon({ controller, result }: Run<T>, signal: AbortSignal): void {
    this.#run = undefined;
    this.#abandoned = result.catch(() => undefined);
    controller.abort(abortReason(signal));
  }
}
