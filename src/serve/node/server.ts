/** The listening end on Node: sockets, timers and the end of it all. What is answered is decided in app.ts. */
import { createServer, type Server } from 'node:http';
import type { Measure } from '../measure.ts';
import type { ServeEvent, ServeOptions } from '../serve-options.ts';
import { inTurn } from './in-turn.ts';
import { defaultLimits, type ServerLimits, SLOW_READER, type SlowReaderPolicy } from './limits.ts';
import { Listeners } from './listeners.ts';
import { Metrics } from './metrics.ts';
import { measuresOfAll, mounted } from './mounts.ts';
import { type Place, placeOf } from './places.ts';
import { type CacheChanges, ServedCache } from './served-cache.ts';
import { type RequestSeen, Watch } from './watch.ts';

export interface ServerOptions extends ServeOptions {
  /** How long the first refresh may hold up the start; default 1 s. */
  readonly firstRefreshMs?: number | undefined;
  /** Aborted: the start waits for nothing any more. */
  readonly signal?: AbortSignal | undefined;
  /** Address to listen on; default 127.0.0.1. */
  readonly listen?: string | undefined;
  /** Default 37515; 0 picks a free one. */
  readonly port?: number | undefined;
  /** In the place of both: one or several. */
  readonly places?: readonly Place[] | undefined;
  /** How long `close` lets running requests go on; default 30 s. */
  readonly drainMs?: number | undefined;
  readonly onEvent?: ((event: ServerEvent) => void) | undefined;
  /** Default: by how many files the process may open. */
  readonly limits?: ServerLimits | undefined;
  readonly slowReaders?: SlowReaderPolicy | undefined;
  readonly timeouts?: Timeouts | undefined;
  /** Whether each request makes an event; off by default, for it costs. */
  readonly logRequests?: boolean | undefined;
  /** Where the cache is beside the root: `/team-a`. */
  readonly prefix?: string | undefined;
  /** More caches. */
  readonly others?: readonly MountedCache[] | undefined;
  /** What other parts of the server measure, for `/metrics`. */
  readonly measures?: readonly Measure[] | undefined;
}

interface Timeouts {
  /** For the head of a request, on a connection that is new or was idle; default 15 s. */
  readonly headersMs?: number | undefined;
  /** For a whole request, with its body; 0: any time; default 30 s, and any where there are uploads. */
  readonly requestMs?: number | undefined;
  /** How often that is looked at; default 5 s. */
  readonly checkMs?: number | undefined;
}

export interface MountedCache extends ServeOptions {
  readonly prefix: string;
}

export type ServerEvent =
  | ServeEvent
  | { readonly type: 'listening'; readonly url: string }
  /** Connections cannot be taken: too many open files, mostly. */
  | { readonly type: 'accept-failed'; readonly error: string }
  | ({ readonly type: 'request' } & RequestSeen);

export interface RunningServer {
  /** `http://127.0.0.1:37515` or `unix:/run/nixcache.sock`: the first of all there are. */
  readonly url: string;
  readonly urls: readonly string[];
  /** Of the first; 0 where that is no address. */
  readonly port: number;
  /**
   * Answers from now on with what `changes` say, without any with what was said last, and refreshes the index; answers under way
   * go on as they began.
   */
  reload(changes?: CacheChanges, changesOfOthers?: readonly CacheChanges[]): void;
  /** Stops accepting, lets running requests end up to the drain time, then cuts them off. May be called again. */
  close(): Promise<void>;
}

const DEFAULT_PORT = 37515;
/** How long answers under way may go on when the server closes. */
export const DEFAULT_DRAIN_MS = 30_000;
/**
 * A registry that answers does so by then, and what was published before the start is served from the start: Nix would
 * remember for an hour that it was not there. Where no index is known either, misses wait longer (IndexRefresher).
 */
const DEFAULT_FIRST_REFRESH_MS = 1000;
/** Nix keeps idle connections for 90 s at most; closing earlier costs it a new connection, and us nothing. */
const KEEP_ALIVE_MS = 75_000;
/** A client on loopback or a local network; slower is a slowloris. */
const HEADERS_TIMEOUT_MS = 15_000;
const REQUEST_TIMEOUT_MS = 30_000;
/** Neither a byte read nor written: the same as Nix's stalled-download-timeout. */
const IDLE_TIMEOUT_MS = 300_000;

const CHECK_MS = 5000;

const createHttpServer = ({
  headersMs = HEADERS_TIMEOUT_MS,
  requestMs = REQUEST_TIMEOUT_MS,
  checkMs = CHECK_MS,
}: Timeouts = {}): Server => {
  const server = createServer({
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: headersMs,
    requestTimeout: requestMs,
    connectionsCheckingInterval: checkMs,
    noDelay: true,
  });
  server.timeout = IDLE_TIMEOUT_MS;
  return server;
};

/**
 * Listens, and refreshes the index from then on.
 *
 * @throws {NixcacheError} ERR_USAGE when the address or port cannot be had
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { onEvent = () => {}, listen = '127.0.0.1', port = DEFAULT_PORT } = options;
  const limits = options.limits ?? defaultLimits();
  const startedAt = new Date();
  const watch = new Watch({
    onRequest: options.logRequests === true ? (seen) => onEvent({ type: 'request', ...seen }) : undefined,
  });
  const metrics = new Metrics(watch.stats, () => [
    ...measuresOfAll([first, ...caches]),
    ...watch.measures,
    ...listeners.connections.measures,
    ...(options.measures ?? []),
  ]);
  const { others = [], prefix = '' } = options;
  const maxOpenNars = Math.max(1, Math.floor(limits.nars / (1 + others.length)));
  const base = { maxOpenNars, startedAt, version: options.version };
  const first = new ServedCache({ ...base, metrics, ...options }, watch);
  const caches = others.map((each) => new ServedCache({ ...base, ...each }, watch, each.prefix));
  const alias = prefix === '' ? [] : [first.below(prefix)];
  // Uploads take as long as they take; silent and slow ones are cut off all the same.
  const takesUploads = [options, ...others].some(({ uploads }) => uploads !== undefined);
  const timeouts = { ...(takesUploads && { requestMs: 0 }), ...options.timeouts };
  const listeners = new Listeners({
    ...{ create: () => createHttpServer(timeouts), limits, slowReaders: options.slowReaders ?? SLOW_READER },
    handle: inTurn(mounted(first, [...alias, ...caches])),
    onTrouble: (error) => onEvent({ type: 'accept-failed', error }),
  });
  const all = [first, ...caches];
  await Promise.all(all.map((each) => each.start(options.firstRefreshMs ?? DEFAULT_FIRST_REFRESH_MS, options)));
  let urls: readonly string[];
  try {
    urls = await listeners.open(options.places ?? [placeOf(listen, port)]);
  } catch (error) {
    for (const each of all) each.stop();
    throw error;
  }
  const [url = ''] = urls;
  for (const each of urls) onEvent({ type: 'listening', url: each });
  let closing: Promise<void> | undefined;
  return {
    url,
    urls,
    port: Number(URL.parse(url)?.port),
    reload: (changes, changesOfOthers = []) => {
      first.reload(changes);
      for (const [index, each] of caches.entries()) each.reload(changesOfOthers[index]);
    },
    close: () => {
      for (const each of all) each.stop();
      closing ??= listeners.close(options.drainMs ?? DEFAULT_DRAIN_MS);
      return closing;
    },
  };
}
