import { withDeadline } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';

/** What a healthy network and machine need several times over. */
export const CHECK_TIMEOUT_MS = 5000;

/** Runs `act`, and gives it up with ERR_NETWORK after `timeoutMs`. */
export const within = <T>(
  timeoutMs: number,
  what: string,
  signal: AbortSignal | undefined,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> =>
  withDeadline(
    timeoutMs,
    () => new NixcacheError('ERR_NETWORK', `${what}: no whole answer within ${timeoutMs / 1000} s`),
    signal,
    act,
  );
