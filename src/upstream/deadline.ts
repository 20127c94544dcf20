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
