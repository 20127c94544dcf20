/** Requests, counted by what they asked for and how they ended: plain numbers, for there are thousands a second. */
import type { Measured } from '../measure.ts';

/** The first that `path` matches; what comes after it may be anything. */
const ROUTES = {
  narinfo: /^\/[^/]*\.narinfo$/,
  nar: /^\/nar\//,
  listing: /^\/[^/]*\.ls$/,
  'nix-cache-info': /^\/nix-cache-info$/,
  log: /^\/log\//,
  realisation: /^\/(?:realisations|build-trace-v2)\//,
  debuginfo: /^\/debuginfo\//,
  file: /^\/[^/]+\/store\//,
  page: /^\/$/,
  'public-key': /^\/public-key$/,
  status: /^\/_status$/,
  refresh: /^\/_refresh$/,
  health: /^\/health$/,
  metrics: /^\/metrics$/,
  other: /^/,
} as const;

export type Route = keyof typeof ROUTES;

export function routeOf(target: string): Route {
  const [path = ''] = target.split(/[?#]/, 1);
  for (const [route, pattern] of Object.entries(ROUTES)) if (pattern.test(path)) return route as Route;
  return 'other';
}

/** Whoever may send any method must not make as many numbers. */
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'other'] as const;
const OTHER = METHODS.length - 1;
/** No status has as many digits. */
const STATUSES = 1000;

/** Upper bounds, in seconds: from a narinfo in memory to a large NAR over a slow line. */
export const BUCKETS = [0.0005, 0.002, 0.01, 0.05, 0.2, 1, 5, 30, 120] as const;

class RouteStats {
  /** By method and status, as one number. */
  readonly answers = new Map<number, number>();
  bytes = 0;
  seconds = 0;
  /** How many took so long, each in one bucket alone; the last is for all that took longer. */
  readonly buckets: number[] = [...BUCKETS, 0].map(() => 0);
}

export interface Answered {
  readonly method: string;
  readonly status: number;
  /** Of the body. */
  readonly bytes: number;
  readonly durationMs: number;
}

export interface DurationsOfRoute {
  readonly route: string;
  /** As in `BUCKETS`, each with those below it. */
  readonly upTo: readonly number[];
  readonly count: number;
  readonly seconds: number;
}

export class RequestStats {
  readonly #routes = new Map<Route, RouteStats>();

  count(route: Route, { method, status, bytes, durationMs }: Answered): void {
    let stats = this.#routes.get(route);
    if (stats === undefined) {
      stats = new RouteStats();
      this.#routes.set(route, stats);
    }
    const known = (METHODS as readonly string[]).indexOf(method);
    const key = (known < 0 ? OTHER : known) * STATUSES + status;
    stats.answers.set(key, (stats.answers.get(key) ?? 0) + 1);
    stats.bytes += bytes;
    const seconds = durationMs / 1000;
    stats.seconds += seconds;
    let bucket = 0;
    while (seconds > (BUCKETS[bucket] ?? Number.POSITIVE_INFINITY)) bucket += 1;
    stats.buckets[bucket] = (stats.buckets[bucket] ?? 0) + 1;
  }

  answers(): readonly Measured[] {
    return [...this.#routes].flatMap(([route, { answers }]) =>
      [...answers].map(([key, value]) => {
        const method = METHODS[Math.floor(key / STATUSES)] ?? 'other';
        return { labels: { route, method, status: String(key % STATUSES) }, value };
      }),
    );
  }

  bytes(): readonly Measured[] {
    return [...this.#routes].map(([route, { bytes }]) => ({ labels: { route }, value: bytes }));
  }

  durations(): readonly DurationsOfRoute[] {
    return [...this.#routes].map(([route, { buckets, seconds }]) => {
      let count = 0;
      const sums = buckets.map((each) => {
        count += each;
        return count;
      });
      return { route, upTo: sums.slice(0, -1), count, seconds };
    });
  }
}
