/**
 * Stops asking a far side that keeps failing, and tries it again with one request after a while.
 *
 * closed --(failures in a row)--> open --(time)--> half-open --(success)--> closed, or --(failure)--> open, twice as long.
 */
import { messageOf, NixcacheError } from '../errors.ts';
import type { Clock } from '../http/clock.ts';

export interface BreakerPolicy {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** They must have gone on for this long: a burst of parallel requests that fail together is one accident. */
  readonly spanMs: number;
  /** How long it stays open the first time; doubled each time the probe fails. */
  readonly openMs: number;
  readonly maxOpenMs: number;
}

export type BreakerState = 'closed' | 'open' | 'half-open';

export interface BreakerOptions {
  /** Whom it guards, for messages. */
  readonly name: string;
  readonly policy: BreakerPolicy;
  readonly clock: Pick<Clock, 'now'>;
  readonly onChange?: ((state: BreakerState, lastError: string | undefined) => void) | undefined;
}

/** Nothing was asked, because the breaker is open. */
export class CircuitOpenError extends NixcacheError {
  constructor(name: string, lastError: string | undefined) {
    super('ERR_UPSTREAM', `${name} keeps failing and is not asked for a while; last: ${lastError ?? 'unknown'}`);
  }
}

export class CircuitBreaker {
  readonly #options: BreakerOptions;
  #failures = 0;
  #firstFailureAt = 0;
  /** Undefined while closed. */
  #openUntil: number | undefined;
  #openMs: number;
  #probing = false;
  #lastError: string | undefined;

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#openMs = options.policy.openMs;
  }

  get state(): BreakerState {
    if (this.#openUntil === undefined) return 'closed';
    return this.#options.clock.now() < this.#openUntil ? 'open' : 'half-open';
  }

  /** Message of the last failure since it last succeeded. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /**
   * Runs `act` and learns from its outcome; what fails after `signal` aborted says nothing about the far side.
   *
   * @throws {CircuitOpenError} at once while open, and while half-open with the one probe under way
   */
  async run<T>(act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const isProbe = this.#enter();
    try {
      const value = await act();
      this.#succeeded();
      return value;
    } catch (error) {
      if (signal?.aborted !== true) this.#failed(error);
      throw error;
    } finally {
      if (isProbe) this.#probing = false;
    }
  }

  #enter(): boolean {
    const { state } = this;
    if (state === 'closed') return false;
    if (state === 'open' || this.#probing) throw new CircuitOpenError(this.#options.name, this.#lastError);
    this.#probing = true;
    return true;
  }

  #succeeded(): void {
    const wasOpen = this.#openUntil !== undefined;
    this.#failures = 0;
    this.#openUntil = undefined;
    this.#openMs = this.#options.policy.openMs;
    this.#lastError = undefined;
    if (wasOpen) this.#options.onChange?.('closed', undefined);
  }

  #failed(error: unknown): void {
    const { policy, clock, onChange } = this.#options;
    const now = clock.now();
    this.#lastError = messageOf(error);
    if (this.#openUntil !== undefined) {
      if (now < this.#openUntil) return; // a request that began before it opened
      this.#openMs = Math.min(this.#openMs * 2, policy.maxOpenMs);
      this.#openUntil = now + this.#openMs;
      onChange?.('open', this.#lastError);
      return;
    }
    if (this.#failures === 0) this.#firstFailureAt = now;
    this.#failures += 1;
    if (this.#failures >= policy.failures && now - this.#firstFailureAt >= policy.spanMs) {
      this.#openUntil = now + this.#openMs;
      onChange?.('open', this.#lastError);
    }
  }
}
