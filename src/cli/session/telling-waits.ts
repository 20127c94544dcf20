/** Says that a far side keeps us waiting, before patience with it ends: who looks on would take it for ours. */
import type { HttpFetch } from '../../http/http-fetch.ts';
import { formatRetry, type RetryEvent } from '../../http/retry.ts';
import type { Output } from '../ui/output.ts';

const SILENCE_MS = 5000;
/** Many requests wait together, and wait again. */
const MIN_TELL_MS = 30_000;

/** `http`, which calls `tell` with the host that has not answered for 5 s; not of what takes its time to be sent. */
export function tellingSilence(http: HttpFetch, tell: (host: string) => void): HttpFetch {
  let toldMs = Number.NEGATIVE_INFINITY;
  return {
    async request(request) {
      if (request.bulk || request.body !== undefined) return http.request(request);
      const timer = setTimeout(() => {
        if (performance.now() - toldMs < MIN_TELL_MS) return;
        toldMs = performance.now();
        tell(new URL(request.url).host);
      }, SILENCE_MS);
      timer.unref();
      try {
        return await http.request(request);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** As a line of the story. */
export const tellSilence =
  (output: Output): ((host: string) => void) =>
  (host) =>
    output.info(`waiting for ${host}, which has not answered for ${SILENCE_MS / 1000} s`);

/** Many requests fail together, and none of them is worth more than a line in this time. */
const MIN_RETRY_LINE_MS = 5000;

/** Says what keeps us waiting where something is tried again. */
export function tellRetries(output: Output): (event: RetryEvent) => void {
  let lastMs = Number.NEGATIVE_INFINITY;
  return (event) => {
    const nowMs = performance.now();
    if (nowMs - lastMs < MIN_RETRY_LINE_MS) return;
    lastMs = nowMs;
    output.info(formatRetry(event));
  };
}
