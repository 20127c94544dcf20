/** When uploads are committed: soon after they came, many together; and again, ever later, while that fails. */
import { setTimeout as sleep } from 'node:timers/promises';
import { abortable } from '../../call-options.ts';
import type { Uploads } from '../upload/uploads.ts';

export interface CommitTimerOptions {
  readonly uploads: Uploads;
  /** Commits what waits; whether there is more. */
  readonly commit: (signal: AbortSignal) => Promise<boolean>;
  readonly delays?: Partial<CommitDelays> | undefined;
}

export interface CommitDelays {
  /** After the last upload; each further one sets it anew. */
  readonly quietMs: number;
  /** At the latest, from the first upload on. */
  readonly mostMs: number;
  /** After a failure; doubled each time. */
  readonly retryMs: number;
  readonly mostRetryMs: number;
  /** Between looks for what can be let go of. */
  readonly settleMs: number;
}

const DELAYS: CommitDelays = { quietMs: 2000, mostMs: 30_000, retryMs: 2000, mostRetryMs: 60_000, settleMs: 60_000 };

export class CommitTimer {
  readonly #options: CommitTimerOptions;
  readonly #delays: CommitDelays;
  readonly #stopped = new AbortController();
  readonly #settling: NodeJS.Timeout;
  #timer: NodeJS.Timeout | undefined;
  #firstAtMs: number | undefined;
  #failures = 0;
  #running: Promise<boolean> | undefined;
  #isDraining = false;

  constructor(options: CommitTimerOptions) {
    this.#options = options;
    this.#delays = { ...DELAYS, ...options.delays };
    const { uploads } = options;
    uploads.onUploaded = () => this.#arrived();
    this.#settling = setInterval(() => void this.#settle(), this.#delays.settleMs).unref();
    if (uploads.uncommitted().length > 0) this.#schedule(this.#delays.quietMs);
  }

  /** Commits what waits, for up to `timeoutMs`, and then nothing any more: what is left waits for the next start. */
  async drain(timeoutMs: number): Promise<void> {
    this.#isDraining = true;
    clearTimeout(this.#timer);
    clearInterval(this.#settling);
    const end = AbortSignal.timeout(timeoutMs);
    end.addEventListener('abort', () => this.#stopped.abort(end.reason), { once: true });
    try {
      while (!end.aborted && this.#options.uploads.uncommitted().some(({ trouble }) => trouble === undefined)) {
        const isDone = await abortable(this.#run(), end);
        if (!isDone) await sleep(Math.min(this.#delays.retryMs, timeoutMs / 5), undefined, { signal: end });
      }
    } catch {
      // Time is up.
    } finally {
      this.#stopped.abort();
      await this.#running?.catch(() => undefined);
    }
  }

  #arrived(): void {
    if (this.#isDraining || this.#failures > 0 || this.#running !== undefined) return; // it is looked at again by itself
    const nowMs = performance.now();
    this.#firstAtMs ??= nowMs;
    this.#schedule(Math.max(0, Math.min(this.#delays.quietMs, this.#firstAtMs + this.#delays.mostMs - nowMs)));
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#run(), delayMs);
    this.#timer.unref();
  }

  /** Whether it worked. Never rejects. */
  async #run(): Promise<boolean> {
    this.#running ??= this.#commit().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #commit(): Promise<boolean> {
    const { uploads, commit } = this.#options;
    const { quietMs, retryMs, mostRetryMs } = this.#delays;
    this.#firstAtMs = undefined;
    try {
      while (await commit(this.#stopped.signal));
      this.#failures = 0;
      await this.#settle();
    } catch (error) {
      if (this.#stopped.signal.aborted) return false;
      uploads.failed(error, uploads.uncommitted().length);
      this.#failures += 1;
    }
    const left = uploads.uncommitted();
    if (this.#isDraining || left.length === 0) return this.#failures === 0;
    const isInTrouble = left.every(({ trouble }) => trouble !== undefined);
    const waitMs = Math.min(mostRetryMs, retryMs * 2 ** Math.max(0, this.#failures - 1)) * (0.8 + 0.4 * Math.random());
    this.#schedule(this.#failures > 0 ? waitMs : isInTrouble ? mostRetryMs : quietMs);
    return this.#failures === 0;
  }

  async #settle(): Promise<void> {
    try {
      const { uploads } = this.#options;
      if (uploads.hasCommitted) await abortable(uploads.refresh(), this.#stopped.signal);
      await uploads.settle();
    } catch {
      // What it could not see now is seen the next time; who refreshes tells what is wrong.
    }
  }
}
