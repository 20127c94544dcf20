import { type CallOptions, withDeadline } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import type { Slots } from '../slots.ts';

/** So much is looked into already that this one did not get its turn. */
export class BusyError extends NixcacheError {
  constructor(waitMs: number) {
    super('ERR_INTERRUPTED', `so many NARs are being looked into that this one had no turn within ${waitMs} ms`);
  }
}

/** A slot, waited for up to `waitMs`. @throws {BusyError} */
export const takeInTime = (slots: Slots, waitMs: number, { signal }: CallOptions): Promise<() => void> =>
  withDeadline(
    waitMs,
    () => new BusyError(waitMs),
    signal,
    (signal) => slots.take({ signal }),
  );
