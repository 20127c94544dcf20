/** The time that a cache goes by: that of where it lies, for those who write there have clocks of their own. */
import { hasClock, type ReadOnlyStore } from '../../oci/content-store.ts';

/** As much as certificates and tokens bear; what differs by less counts as one time. */
const MAX_SKEW_MS = 60_000;

export interface StoreClockOptions {
  readonly onWarning: (message: string) => void;
  /** Of which stores it was said that their time is not ours. */
  readonly told: WeakSet<ReadOnlyStore>;
  /** Ours, in milliseconds since the epoch; default: the system's. */
  readonly ours?: (() => number) | undefined;
}

/**
 * What time it is in `store`. By our own clock as long as the store's agrees with it, or is not known; it is said once that
 * they do not agree.
 */
export async function storeClock(
  store: ReadOnlyStore,
  { onWarning, told, ours = Date.now }: StoreClockOptions,
): Promise<() => Date> {
  if (!hasClock(store)) return () => new Date(ours());
  await store.readClock();
  return () => {
    const seenMs = store.clockSkewMs ?? 0;
    const skewMs = Math.abs(seenMs) > MAX_SKEW_MS ? seenMs : 0;
    const now = ours();
    if (skewMs !== 0 && !told.has(store)) {
      told.add(store);
      onWarning(
        `the clock of this machine says ${timeOf(now)}, that of ${store.name} ${timeOf(now + skewMs)}: what is written there goes by the latter; set yours, for example with: timedatectl set-ntp true`,
      );
    }
    return new Date(now + skewMs);
  };
}

const timeOf = (ms: number): string => {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? 'no time at all' : time.toISOString().replace(/\.\d+Z$/, 'Z');
};
