/** What the app itself measures. */
import type { CacheReader } from '../cache/read/cache-reader.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { Gate } from './gate.ts';
import type { Measure, Measured } from './measure.ts';
import type { ObjectCache } from './object-cache.ts';
import type { Counters } from './serve-options.ts';
import type { Uploads } from './upload/uploads.ts';

export interface MeasuresOptions {
  readonly reader: Pick<CacheReader, 'status'>;
  readonly upstreams: readonly Upstream[];
  readonly counters: Counters;
  readonly objects?: Pick<ObjectCache, 'usage'> | undefined;
  readonly uploads?: Pick<Uploads, 'status'> | undefined;
  readonly gate: Pick<Gate, 'uses'> | undefined;
  readonly version: string;
  readonly now: () => Date;
}

export function measuresOf(options: MeasuresOptions): readonly Measure[] {
  const { reader, upstreams, counters, objects, uploads, gate, version, now } = options;
  const gauge = (name: string, help: string, read: Measure['read']): Measure => ({ name, help, type: 'gauge', read });
  const counter = (name: string, help: string, read: Measure['read']): Measure => ({
    ...{ name, help, type: 'counter', read },
  });
  const perUpstream = (read: (health: ReturnType<Upstream['health']>) => number | undefined) => (): Measured[] =>
    upstreams.flatMap((upstream) => {
      const value = read(upstream.health());
      return value === undefined ? [] : { labels: { upstream: upstream.name }, value };
    });
  return [
    gauge('build_info', 'Always 1; the version is in its label.', () => [{ labels: { version }, value: 1 }]),
    counter('narinfo_lookups_total', 'Narinfos that were asked for, by where they were found.', () =>
      byResult(counters.narInfoHits, counters.narInfoUpstreamHits, counters.narInfoMisses),
    ),
    counter('nar_lookups_total', 'NARs that were asked for, by where they were found.', () =>
      byResult(counters.narHits, counters.narUpstreamHits, counters.narMisses),
    ),
    counter('answer_failures_total', 'Answers that broke off or could not be begun, for the far side failed.', () => {
      return counters.failures;
    }),
    counter('disk_cache_hits_total', 'What came from the disk cache, by what it was.', () => [
      { labels: { type: 'nar' }, value: counters.narDiskHits },
      { labels: { type: 'narinfo' }, value: counters.narInfoDiskHits },
    ]),
    gauge('disk_cache_bytes', 'What the disk cache takes, about.', () => objects?.usage().bytes),
    gauge('disk_cache_max_bytes', 'What the disk cache may take.', () => objects?.usage().maxBytes),
    gauge('uploads_pending', 'Paths that were uploaded and are not in the cache yet.', () => uploads?.status().pending),
    gauge('uploads_pending_bytes', 'What these take on disk.', () => uploads?.status().pendingBytes),
    gauge('uploads_oldest_seconds', 'How long the first of them has waited.', () => {
      const oldest = uploads?.status().oldest;
      return oldest && Math.max(0, (now().getTime() - oldest.getTime()) / 1000);
    }),
    gauge('uploads_unclaimed_nars', 'NARs that no narinfo came for yet.', () => uploads?.status().unclaimedNars),
    gauge('uploads_failed', 'Paths that cannot be brought into the cache for now, up to 20.', () => {
      return uploads?.status().troubles.length;
    }),
    gauge('index_entries', 'Paths in the cache, as far as its index is known.', () => reader.status().entries),
    gauge('index_segments', 'Segments of the index.', () => reader.status().segments),
    gauge('index_generation', 'Grows each time the index that is served changes.', () => reader.status().generation),
    gauge('index_age_seconds', 'Since the index was last compared with the cache.', () => {
      const { refreshedAt } = reader.status();
      return refreshedAt && Math.max(0, (now().getTime() - refreshedAt.getTime()) / 1000);
    }),
    counter('index_refreshes_total', 'Looks for news in the cache, by how they ended.', () => [
      { labels: { result: 'ok' }, value: counters.refreshes },
      { labels: { result: 'failed' }, value: counters.refreshFailures },
    ]),
    gauge(
      'upstream_up',
      'Whether an upstream answered when it was last asked; 1 or 0, and nothing before it was asked.',
      perUpstream(({ isAnswering }) => {
        return isAnswering === undefined ? undefined : Number(isAnswering);
      }),
    ),
    gauge(
      'upstream_latency_seconds',
      'Until the last answer of an upstream began.',
      perUpstream(({ latencyMs }) => {
        return latencyMs === undefined ? undefined : latencyMs / 1000;
      }),
    ),
    counter('token_requests_total', 'Requests with a token that is known, by its name.', () =>
      [...(gate?.uses ?? [])].map(([token, value]) => ({ labels: { token }, value })),
    ),
  ];
}

const byResult = (hit: number, upstream: number, miss: number): Measured[] =>
  Object.entries({ hit, upstream, miss }).map(([result, value]) => ({ labels: { result }, value }));
