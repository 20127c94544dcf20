/** `/_status`: what a person or a monitor wants to know, as JSON. Its fields are part of the interface. */
import type { CacheReader } from '../../cache/read/cache-reader.ts';
import type { Upstream } from '../../upstream/upstream.ts';
import { jsonAnswer } from '../answer.ts';
import type { Counters } from '../counters.ts';
import { READ, type Route } from '../route.ts';

export interface StatusRouteOptions {
  readonly reader: CacheReader;
  readonly upstreams: readonly Upstream[];
  readonly counters: Counters;
  readonly version: string;
  readonly now: () => Date;
}

export function statusRoute(options: StatusRouteOptions): Route {
  const { reader, upstreams, counters, version, now } = options;
  const startedAt = now();
  const secondsSince = (time: Date): number => Math.max(0, Math.round((now().getTime() - time.getTime()) / 1000));
  const answer = () => {
    const { entries, segments, generation, refreshedAt, lastError } = reader.status();
    return jsonAnswer(200, {
      version,
      uptimeSeconds: secondsSince(startedAt),
      cache: reader.name,
      storeDir: reader.storeDir,
      entries,
      segments,
      index: {
        generation,
        refreshedAt: refreshedAt?.toISOString() ?? null,
        ageSeconds: refreshedAt === undefined ? null : secondsSince(refreshedAt),
        lastError: lastError ?? null,
      },
      upstreams: upstreams.map((upstream) => {
        const { url, state, lastError, latencyMs } = upstream.health();
        return { url, state, lastError: lastError ?? null, latencyMs: latencyMs ?? null };
      }),
      counters,
    });
  };
  return { methods: READ, match: (path) => (path === '/_status' ? answer : undefined) };
}
