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
