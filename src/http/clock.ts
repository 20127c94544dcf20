import { setTimeout as delay } from 'node:timers/promises';
import { abortReason } from '../call-options.ts';

/** Time and chance, as parameters: tests pass their own and never wait. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Rejects as soon as `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** At least 0, below 1. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      throw signal?.aborted === true ? abortReason(signal) : error;
    }
  },
  random: () => Math.random(),
};
