/** `/metrics`: what is measured, as Prometheus reads it. The library is loaded, and the process watched, from the first look on. */
import type { Registry } from '@prometheus-io/client';
import { SharedWork } from '../../shared-work.ts';
import type { Measure } from '../measure.ts';
import { BUCKETS, type RequestStats } from './request-stats.ts';

/** What of a metric a registry reads. */
interface Sample {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

export class Metrics {
  readonly #stats: RequestStats;
  readonly #measures: () => readonly Measure[];
  readonly #registry = new SharedWork(() => this.#open());
  #opened: Registry | undefined;

  /** `measures` may be others after a reload, of the same names. */
  constructor(stats: RequestStats, measures: () => readonly Measure[]) {
    this.#stats = stats;
    this.#measures = measures;
  }

  async text(): Promise<string> {
    this.#opened ??= await this.#registry.join();
    return this.#opened.metrics();
  }

  async #open(): Promise<Registry> {
    const { Registry, collectDefaultMetrics } = await import('@prometheus-io/client');
    const registry = new Registry();
    const names = this.#measures().map(({ name }) => name);
    for (const name of names) this.#register(registry, name);
    this.#registerDurations(registry);
    collectDefaultMetrics({ register: registry });
    return registry;
  }

  #register(registry: Registry, name: string): void {
    const find = (): Measure | undefined => this.#measures().find((each) => each.name === name);
    register(registry, `nixcache_${name}`, find()?.type ?? 'gauge', find()?.help ?? '', () => {
      const read = find()?.read();
      if (read === undefined) return [];
      return typeof read === 'number' ? [{ labels: {}, value: read }] : read;
    });
  }

  #registerDurations(registry: Registry): void {
    const name = 'nixcache_http_request_duration_seconds';
    const help = 'From the beginning of a request until its answer was sent, or its client had left.';
    register(registry, name, 'histogram', help, () =>
      this.#stats.durations().flatMap(({ route, upTo, count, seconds }) => [
        ...upTo.map((value, index) => ({
          ...{ metricName: `${name}_bucket`, labels: { route, le: BUCKETS[index] ?? 0 }, value },
        })),
        { metricName: `${name}_bucket`, labels: { route, le: '+Inf' }, value: count },
        { metricName: `${name}_sum`, labels: { route }, value: seconds },
        { metricName: `${name}_count`, labels: { route }, value: count },
      ]),
    );
  }
}

/** A registry asks each metric for all of it by `get`; ours are counted elsewhere, where that costs less. */
function register(registry: Registry, name: string, type: string, help: string, read: () => readonly Sample[]): void {
  const metric = { name, help, type, aggregator: 'sum', get: () => ({ name, help, type, values: read() }) };
  registry.registerMetric(metric as never);
}
