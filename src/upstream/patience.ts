/** How long upstreams are waited for, by whom it is that waits. */
import type { RetryPolicy } from '../http/retry.ts';
import type { BreakerPolicy } from './circuit-breaker.ts';
import type { SilencePolicy } from './silence-watch.ts';

/** How much trouble is put up with. */
export interface Patience {
  readonly retry: RetryPolicy;
  /** For what a client was told to be there, an open breaker included; default `retry`. */
  readonly announced?: RetryPolicy | undefined;
  /** After how much waiting for what is announced to begin it is asked for once more beside that; default: never. */
  readonly askAgainMs?: number | undefined;
  readonly breaker: BreakerPolicy;
  /** When a cache that answers nobody is given up; default: only each request by itself, after the cache's own time. */
  readonly silence?: SilencePolicy | undefined;
}

/**
 * For `serve`: a client waits, and there are other caches. What Nix itself rides out (five attempts in some five seconds) is
 * ridden out; then a cache that keeps failing costs nothing any more, and is looked at again, beside the requests, after a
 * second, two, four …. One that answers nothing at all is given up after one deadline, for which all wait that came meanwhile.
 * A miss is remembered by Nix for an hour, and a NAR that fails may end a build: that is worth half a minute.
 */
export const PROMPT: Patience = {
  retry: { attempts: 20, baseDelayMs: 250, maxDelayMs: 1500, deadlineMs: 5000, askedDeadlineMs: 15_000 },
  announced: { attempts: 60, baseDelayMs: 250, maxDelayMs: 2000, deadlineMs: 30_000 },

  askAgainMs: 10_000,
  breaker: { failures: 2, spanMs: 4900, openMs: 1000, maxOpenMs: 10_000, waitMs: 1000 },
  silence: { quietMs: 5000, firstMs: 9000, latencies: 3, suspectMs: 1000 },
};

/**
 * For `publish`: what is not known has to be built or pushed, so a short outage is waited out; a long one costs seconds. A cache
 * that is silent until its deadline is not asked for the next path either, but looked at again beside the work.
 */
export const PATIENT: Patience = {
  retry: { attempts: 5, baseDelayMs: 500, maxDelayMs: 4000, deadlineMs: 60_000, maxSilences: 1 },
  breaker: { failures: 10, spanMs: 5000, openMs: 5000, maxOpenMs: 60_000 },
};
