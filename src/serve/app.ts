/** From a request to its reply, with no socket in sight. */
import { messageOf } from '../errors.ts';
import { type Answer, NOT_FOUND, type Reply, statusAnswer } from './answer.ts';
import { type Counters, newCounters } from './counters.ts';
import { IndexRefresher } from './index-refresher.ts';
import { negotiate } from './negotiate.ts';
import { conditionsOf, pathOf, type ServeRequest, UNCONDITIONAL } from './request.ts';
import type { Route } from './route.ts';
import { healthRoute } from './routes/health.ts';
import { listingRoute } from './routes/listing.ts';
import { NarRoute } from './routes/nar.ts';
import { NarInfoRoute } from './routes/nar-info.ts';
import { nixCacheInfoRoute } from './routes/nix-cache-info.ts';
import { publicKeyRoute } from './routes/public-key.ts';
import { refreshRoute } from './routes/refresh.ts';
import { statusRoute } from './routes/status.ts';
import type { ServeEvent, ServeOptions } from './serve-options.ts';
import { Trust } from './trust.ts';
import { UpstreamNarInfos } from './upstream-nar-infos.ts';
import { UpstreamNars } from './upstream-nars.ts';

const DEFAULT_PRIORITY = 30;
const DEFAULT_INDEX_TTL_MS = 300_000;
const DEFAULT_HEAD_START_MS = 150;
const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_NEGATIVE_TTL_MS = 60_000;

export class App {
  readonly refresher: IndexRefresher;
  readonly counters: Counters = newCounters();
  readonly #narInfos: NarInfoRoute;
  readonly #routes: readonly Route[];
  readonly #onEvent: (event: ServeEvent) => void;

  constructor(options: ServeOptions) {
    const { reader, upstreams = [], headStartMs = DEFAULT_HEAD_START_MS, onEvent = () => {} } = options;
    const { now = () => new Date(), version = 'unknown', publicKeys = [] } = options;
    const timeoutMs = options.narInfoTimeoutMs ?? DEFAULT_TIMEOUT_MS;
    const { counters } = this;
    const trust = new Trust(options.trustedPublicKeys ?? []);
    const nars = new UpstreamNars(upstreams);
    const negativeTtlMs = options.negativeTtlMs ?? DEFAULT_NEGATIVE_TTL_MS;
    const shared = { reader, upstreams, nars, trust, counters, headStartMs, timeoutMs, onEvent };
    this.#onEvent = onEvent;
    this.#narInfos = new NarInfoRoute({ ...shared, upstreams: new UpstreamNarInfos({ ...shared, negativeTtlMs }) });
    this.refresher = new IndexRefresher({
      reader,
      onEvent,
      ttlMs: options.indexTtlMs ?? DEFAULT_INDEX_TTL_MS,
      onChange: () => this.#narInfos.clear(),
    });
    this.#routes = [
      this.#narInfos,
      new NarRoute(shared),
      nixCacheInfoRoute(reader, options.priority ?? DEFAULT_PRIORITY),
      listingRoute(shared),
      publicKeyRoute({ ...shared, publicKeys }),
      statusRoute({ ...shared, version, now }),
      refreshRoute(this.refresher),
      healthRoute,
    ];
  }

  /** What `request` gets. Never throws or rejects; only what has to be waited for is a promise. */
  reply(request: ServeRequest): Reply | Promise<Reply> {
    const conditions = conditionsOf(request);
    const { url: target = '', method } = request;
    const known = method === 'GET' || method === 'HEAD' ? this.#narInfos.findReady(target) : undefined;
    if (known !== undefined) {
      return conditions === UNCONDITIONAL && known.whole ? known.whole : negotiate(conditions, known);
    }
    try {
      const answer = this.#answer(target, method ?? '');
      if (!(answer instanceof Promise)) return negotiate(conditions, answer);
      return answer.then(
        (answer) => negotiate(conditions, answer),
        (error: unknown) => this.#fail(target, error),
      );
    } catch (error) {
      return this.#fail(target, error);
    }
  }

  /** The reply when the body of another could not be opened: a miss, which Nix takes better than an error. */
  failedToOpen(target: string, error: unknown): Reply {
    this.brokeOff(target, error);
    return negotiate(UNCONDITIONAL, NOT_FOUND);
  }

  /** Tells of an answer that failed half-way. */
  brokeOff(target: string, error: unknown): void {
    this.counters.failures += 1;
    this.#onEvent({ type: 'answer-failed', path: target, error: messageOf(error) });
  }

  #answer(target: string, method: string): Answer | Promise<Answer> {
    const path = pathOf(target);
    if (path === undefined) return NOT_FOUND;
    for (const route of this.#routes) {
      const answer = route.match(path);
      if (answer === undefined) continue;
      if (route.methods.includes(method)) return answer();
      return statusAnswer(405, ['Allow', route.methods.join(', ')]);
    }
    return NOT_FOUND;
  }

  #fail(target: string, error: unknown): Reply {
    this.brokeOff(target, error);
    return negotiate(UNCONDITIONAL, statusAnswer(500));
  }
}
