/** What every call that waits takes, and how an abort is told. Imported by all, like errors.ts. */
import { NixcacheError } from './errors.ts';

/** Last parameter everywhere. */
export interface CallOptions {
  /** Once aborted, the call rejects with, and a stream it gave is destroyed with, the signal's `reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** What an aborted call rejects with: the signal's reason, as an error. */
export function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new NixcacheError('ERR_INTERRUPTED', 'stopped', { cause: reason });
}

/** `work`, or the signal's reason as soon as it aborts; the work itself, which others may wait for too, goes on. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(abortReason(signal));
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Runs `act` with a signal that aborts with `signal`, and with `expired()` as its reason after `timeoutMs`. */
export async function withDeadline<T>(
  timeoutMs: number,
  expired: () => Error,
  signal: AbortSignal | undefined,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  const timer = setTimeout(() => controller.abort(expired()), timeoutMs);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await act(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Aborted with `signal`, and with `other` if there is one. */
export const anySignal = (signal: AbortSignal, other: AbortSignal | undefined): AbortSignal =>
  other ? AbortSignal.any([signal, other]) : signal;

/** Rejects once `signal` is aborted, until it is released. Nobody need await it. */
export function rejectionOf(signal: AbortSignal): { readonly promise: Promise<never>; readonly release: () => void } {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => undefined);
  const onAbort = (): void => reject(abortReason(signal));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  return { promise, release: () => signal.removeEventListener('abort', onAbort) };
}
