/**
 * Stops asking a far side that keeps failing, and tries it again with one request after a while.
 *
 * closed --(nothing but failures for a while, or a silence)--> open --(time)--> half-open --(success)--> closed, or --(failure)-->
 * open, twice as long. With a `probe` it is tried again in the background, and costs nobody anything: only who comes while the
 * outage is young waits a moment for it to end; and a failure that nobody else's request follows is looked into. Without one, whoever comes first then tries, and others wait for the outcome.
 */
import { abortable } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import type { Clock } from '../http/clock.ts';

export interface BreakerPolicy {
  /** Failures in a row that open it; a silence does by itself. */
  readonly failures: number;
  /** They must have gone on for this long: a burst of parallel requests that fail together is one accident. */
  readonly spanMs: number;
  /** How long it stays open the first time; doubled each time the probe fails. */
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** How long a request waits for it to close, when that may be so soon; default 0. */
  readonly waitMs?: number | undefined;
}

/**
 * An answer, whatever is wrong with it; a failure that speaks against the far side as a whole; or one by waiting: it has taken a
 * whole deadline to show, during which everybody else waited as well, unless they were answered. Or nothing can be told.
 */
export type Verdict = 'answer' | 'outage' | 'silence' | 'unknown';

export type BreakerState = 'closed' | 'open' | 'half-open';

export interface BreakerOptions {
  /** Whom it guards, for messages. */
  readonly name: string;
  readonly policy: BreakerPolicy;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  /** What an error says of the far side; default: an outage. */
  readonly verdict?: ((error: unknown) => Verdict) | undefined;
  /** Asks the far side for something, to find out how it is. */
  readonly probe?: ((signal: AbortSignal) => Promise<unknown>) | undefined;
  readonly onChange?: ((state: BreakerState, lastError: string | undefined) => void) | undefined;
}

/** Nothing was asked, because the breaker is open. */
export class CircuitOpenError extends NixcacheError {
  constructor(name: string, lastError: string | undefined) {
    super('ERR_UPSTREAM', `${name} keeps failing and is not asked for a while; last: ${lastError ?? 'unknown'}`);
  }
}

interface LearnOptions extends Pick<BreakerOptions, 'verdict'> {
  readonly isLook?: boolean | undefined;
}

interface Probe {
  readonly startedAt: number;
  readonly ended: PromiseWithResolvers<void>;
}

export class CircuitBreaker {
  readonly #options: BreakerOptions;
  #failures = 0;
  #firstFailureAt = 0;
  #lastFailureAt = 0;
  /** Undefined while closed. */
  #openUntil: number | undefined;
  #openedAt = 0;
  #openMs: number;
  #probe: Probe | undefined;
  #lastError: string | undefined;
  /** When anything but silence came of a request. */
  #heardAt = Number.NEGATIVE_INFINITY;
  #isSilent = false;
  #timer: NodeJS.Timeout | undefined;
  #hasAnswered = false;
  readonly #stop = new AbortController();

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#openMs = options.policy.openMs;
  }

  get state(): BreakerState {
    if (this.#openUntil === undefined) return 'closed';
    return this.#options.clock.now() < this.#openUntil ? 'open' : 'half-open';
  }

  /** Whether it answered when it was last heard of, rather than failed; undefined: nobody asked it yet. */
  get isAnswering(): boolean | undefined {
    if (this.#openUntil !== undefined || this.#lastError !== undefined) return false;
    return this.#hasAnswered || undefined;
  }

  /** Message of the last failure since it last succeeded. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /**
   * Runs `act` and learns from its outcome; what fails after `signal` aborted says nothing about the far side.
   *
   * @throws {CircuitOpenError} while open, and while half-open with the one probe under way
   */
  async run<T>(
    act: () => Promise<T>,
    signal?: AbortSignal,
    { verdict }: Pick<BreakerOptions, 'verdict'> = {},
  ): Promise<T> {
    const probe = await this.#enter(signal);
    try {
      return await this.#learn(act, signal, { verdict });
    } finally {
      this.#end(probe);
    }
  }

  /** Finds out in the background how the far side is, if it is not known to be away. */
  suspect(): void {
    if (this.#openUntil === undefined) this.#look();
  }

  /** Looks no more. */
  close(): void {
    clearTimeout(this.#timer);
    this.#stop.abort();
  }

  async #learn<T>(
    act: () => Promise<T>,
    signal: AbortSignal | undefined,
    { isLook = false, verdict = this.#options.verdict ?? (() => 'outage') }: LearnOptions,
  ): Promise<T> {
    const { clock } = this.#options;
    const startedAt = clock.now();
    try {
      const value = await act();
      this.#succeeded();
      return value;
    } catch (error) {
      if (signal?.aborted !== true) {
        const said = verdict(error);
        if (said === 'answer') this.#succeeded();
        else if (said !== 'unknown') this.#failed(error, { startedAt, verdict: said, isLook });
      }
      throw error;
    }
  }

  /** One probe at a time; nobody waits for it. */
  #look(): void {
    const { probe: ask } = this.#options;
    const { signal } = this.#stop;
    if (ask === undefined || this.#probe !== undefined || signal.aborted) return;
    const probe = this.#beginProbe();
    void this.#learn(() => ask(signal), signal, { isLook: true })
      .catch(() => undefined)
      .finally(() => this.#end(probe));
  }

  #beginProbe(): Probe {
    this.#probe = { startedAt: this.#options.clock.now(), ended: Promise.withResolvers() };
    return this.#probe;
  }

  #end(probe: Probe | undefined): void {
    if (probe === undefined) return;
    this.#probe = undefined;
    probe.ended.resolve();
  }

  /** Lets one request pass, or all when closed; the probe is given to the one that is to find out. */
  async #enter(signal: AbortSignal | undefined): Promise<Probe | undefined> {
    const { clock, policy, name, probe: ask } = this.#options;
    const giveUpAt = clock.now() + (policy.waitMs ?? 0);
    for (;;) {
      const { state } = this;
      if (state === 'closed') return undefined;
      const now = clock.now();
      if (state === 'half-open' && this.#probe === undefined) {
        if (ask === undefined) return this.#beginProbe();
        this.#look();
      }
      const isOld = this.#isSilent || this.#openMs > policy.openMs;
      if (ask !== undefined && isOld) throw new CircuitOpenError(name, this.#lastError);
      // A probe that takes longer than this will not end well.
      const decidedAt =
        this.#probe === undefined ? (this.#openUntil ?? now) : this.#probe.startedAt + (policy.waitMs ?? 0);
      if (now >= giveUpAt || (this.#probe === undefined ? decidedAt > giveUpAt : decidedAt <= now)) {
        throw new CircuitOpenError(name, this.#lastError);
      }
      await this.#pause(Math.min(decidedAt, giveUpAt) - now, signal);
    }
  }

  /** Until the probe under way has ended, or for `ms`. */
  async #pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#options;
    const probe = this.#probe;
    if (probe === undefined) {
      await clock.sleep(ms, signal);
      return;
    }
    const stop = new AbortController();
    const slept = clock.sleep(ms, stop.signal).catch(() => undefined);
    try {
      await abortable(Promise.race([probe.ended.promise, slept]), signal);
    } finally {
      stop.abort();
    }
  }

  #succeeded(): void {
    const wasOpen = this.#openUntil !== undefined;
    clearTimeout(this.#timer);
    this.#heardAt = this.#options.clock.now();
    this.#hasAnswered = true;
    this.#failures = 0;
    this.#openUntil = undefined;
    this.#openMs = this.#options.policy.openMs;
    this.#lastError = undefined;
    if (wasOpen) this.#options.onChange?.('closed', undefined);
  }

  #failed(
    error: unknown,
    { startedAt, verdict, isLook }: { readonly startedAt: number; readonly verdict: Verdict; readonly isLook: boolean },
  ): void {
    const { policy, clock } = this.#options;
    const now = clock.now();
    const isSilence = verdict === 'silence' && this.#heardAt <= startedAt;
    if (verdict !== 'silence') this.#heardAt = now;
    this.#lastError = messageOf(error);
    if (this.#openUntil !== undefined) {
      if (!isLook && (now < this.#openUntil || startedAt < this.#openedAt)) return; // a request that began before it opened
      this.#openMs = Math.min(this.#openMs * 2, policy.maxOpenMs);
      this.#open(now, isSilence);
      return;
    }
    if (isSilence) {
      this.#open(now, true);
      return;
    }
    // Failures with a long silence between them are several accidents.
    if (this.#failures === 0 || startedAt - this.#lastFailureAt > policy.spanMs + policy.openMs) {
      this.#failures = 0;
      this.#firstFailureAt = startedAt;
    }
    this.#lastFailureAt = now;
    this.#failures += 1;
    if (this.#failures >= policy.failures && now - this.#firstFailureAt >= policy.spanMs) this.#open(now, false);
    // Where little is asked for, each failure would else be an accident by itself, for ever.
    else if (this.#failures === 1) this.#lookAfter(policy.spanMs + policy.openMs / 2);
  }

  #open(now: number, isSilent: boolean): void {
    this.#isSilent = isSilent;
    this.#openedAt = now;
    this.#openUntil = now + this.#openMs;
    this.#lookAfter(this.#openMs);
    this.#options.onChange?.('open', this.#lastError);
  }

  #lookAfter(ms: number): void {
    if (this.#options.probe === undefined || this.#stop.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), ms).unref();
  }
}
