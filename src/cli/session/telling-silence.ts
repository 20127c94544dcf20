/** Says that a far side keeps us waiting, before patience with it ends: who looks on would take it for ours. */
import type { HttpFetch } from '../../http/http-fetch.ts';

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
