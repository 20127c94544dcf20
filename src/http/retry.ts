/** When to try again, and when to stop. Full jitter, exponential, and never sooner than the server asks. */

import { abortReason } from '../call-options.ts';
import { messageOf, type NixcacheError } from '../errors.ts';
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import { HttpError } from './http-error.ts';
import { NetworkError } from './network-error.ts';

export interface RetryPolicy {
  /** How often at most, the first time included. */
  readonly attempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** No attempt starts later than this after the first one; the last one as late. */
  readonly deadlineMs: number;
  /** The same where the server itself says when to come again; default `deadlineMs`. */
  readonly askedDeadlineMs?: number | undefined;
  /** As long as the far side has not answered anything, no attempt starts later than this after the first one; default: any. */
  readonly firstContactMs?: number | undefined;
  /** As long as it has not, no request waits longer than this for its answer; default: any. */
  readonly firstAnswerMs?: number | undefined;
  /** The same as `firstContactMs` once somebody has given up on the network, until something is answered; default: as before. */
  readonly afterOutageMs?: number | undefined;
  /** No attempt after so many deadlines in a row in which the far side has answered nobody; default: any number. */
  readonly maxSilences?: number | undefined;
}

/** A minute of outage is survived, a dead registry is reported within a few minutes. */
export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  attempts: 8,
  baseDelayMs: 500,
  maxDelayMs: 30_000,
  deadlineMs: 15 * 60_000,
};

export interface RetryEvent {
  /** What failed. */
  readonly error: Error;
  /** The attempt that failed, from 1. */
  readonly attempt: number;
  readonly attempts: number;
  readonly delayMs: number;
  /** Whether the server named the delay: then it is a limit of its, not a fault. */
  readonly asked: boolean;
}

export interface RetrierOptions {
  readonly policy?: RetryPolicy | undefined;
  readonly clock?: Clock | undefined;
  readonly onRetry?: ((event: RetryEvent) => void) | undefined;
}

export interface RetryCall {
  readonly signal?: AbortSignal | undefined;
  /** Errors worth another attempt beside those that say so themselves. */
  readonly alsoRetry?: ((error: unknown) => boolean) | undefined;
}

export class Retrier {
  readonly policy: RetryPolicy;
  readonly clock: Clock;
  readonly #onRetry: (event: RetryEvent) => void;
  /** How often the far side has answered. */
  #answers = 0;
  /** Whether a call has given up on the network since. */
  #isOut = false;

  constructor(options: RetrierOptions = {}) {
    this.policy = options.policy ?? DEFAULT_RETRY_POLICY;
    this.clock = options.clock ?? systemClock;
    this.#onRetry = options.onRetry ?? (() => {});
  }

  /** Runs `attempt`, which gets its number from 1, until it succeeds or fails for good; the last error is thrown. */
  async run<T>(attempt: (number: number) => Promise<T>, call: RetryCall = {}): Promise<T> {
    const { attempts, deadlineMs, askedDeadlineMs = deadlineMs } = this.policy;
    const { firstContactMs = Number.POSITIVE_INFINITY, maxSilences = Number.POSITIVE_INFINITY } = this.policy;
    const { afterOutageMs = Number.POSITIVE_INFINITY } = this.policy;
    const start = this.clock.now();
    let silences = 0;
    for (let number = 1; ; number += 1) {
      if (call.signal?.aborted === true) throw abortReason(call.signal);
      const answersBefore = this.#answers;
      try {
        const value = await attempt(number);
        this.#answered();
        return value;
      } catch (error) {
        if (error instanceof HttpError) this.#answered();
        const isSilence = error instanceof NetworkError && error.silent && this.#answers === answersBefore;
        silences = isSilence ? silences + 1 : 0;
        if (isSilence && silences >= maxSilences) throw silent(error, silences);
        const worthIt = isRetryable(error) || call.alsoRetry?.(error) === true;
        if (!(error instanceof Error) || !worthIt) throw error;
        const askedMs = error instanceof HttpError ? error.retryAfterMs : undefined;
        const allowedMs = askedMs === undefined ? deadlineMs : askedDeadlineMs;
        const untilMs = Math.min(
          allowedMs,
          this.#answers > 0 ? allowedMs : firstContactMs,
          this.#isOut ? afterOutageMs : allowedMs,
        );
        const leftMs = start + untilMs - this.clock.now();
        const delayMs = Math.min((askedMs ?? 0) + this.backoffMs(number), Math.max(askedMs ?? 0, leftMs));
        if (number >= attempts || leftMs <= 0 || delayMs > leftMs) {
          this.#isOut = error instanceof NetworkError;
          throw tried(error, number);
        }
        await this.pause({ error, attempt: number, attempts, delayMs, asked: askedMs !== undefined }, call.signal);
      }
    }
  }

  /** How long a request that may take `timeoutMs` waits now for its answer; undefined: as long as requests do. */
  answerTimeoutMs(timeoutMs?: number): number | undefined {
    const { firstAnswerMs } = this.policy;
    if (this.#answers > 0 || firstAnswerMs === undefined) return timeoutMs;
    return Math.min(firstAnswerMs, timeoutMs ?? firstAnswerMs);
  }

  #answered(): void {
    this.#answers += 1;
    this.#isOut = false;
  }

  /** Tells of `event`, and waits as long as it says. */
  async pause(event: RetryEvent, signal?: AbortSignal): Promise<void> {
    this.#onRetry(event);
    await this.clock.sleep(event.delayMs, signal);
  }

  /** Full jitter: anything from nothing to the ceiling after `failures` failures in a row. */
  backoffMs(failures: number): number {
    const { baseDelayMs, maxDelayMs } = this.policy;
    return this.clock.random() * Math.min(maxDelayMs, baseDelayMs * 2 ** (failures - 1));
  }
}

/** Whether `error` itself says that the same may succeed a little later. */
export const isRetryable = (error: unknown): error is NixcacheError =>
  (error instanceof HttpError || error instanceof NetworkError) && error.retryable;

/** A retry event as one line: `ghcr.io asks to wait 12 s`. */
export function formatRetry({ error, delayMs, attempt, attempts, asked }: RetryEvent): string {
  const seconds = delayMs < 1000 ? `${Math.round(delayMs)} ms` : `${Math.round(delayMs / 1000)} s`;
  if (asked && error instanceof HttpError) return `${new URL(error.url).host} asks to wait ${seconds}`;
  return `${messageOf(error)}; trying again in ${seconds} (${attempt} of ${attempts})`;
}

/** Who waits would else wait a deadline for each attempt, some ten minutes. */
const silent = (error: NetworkError, times: number): NetworkError =>
  new NetworkError(
    `${error.message} It has answered nothing${times > 1 ? ` ${times} times in a row` : ''}, so this gives up`,
    {
      ...{ cause: error, host: error.host, retryable: false, silent: true },
    },
  );

function tried(error: Error, attempts: number): Error {
  if (error instanceof HttpError) error.attempts = attempts;
  return error;
}
