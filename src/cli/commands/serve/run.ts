/** Serves until a signal comes. */

import { openDirectoryIndex } from '../../../cache/disk/directory-index.ts';
import { healing } from '../../../cache/read/healing-reader.ts';
import { IndexReader } from '../../../cache/read/index-reader.ts';
import { type ServeSettings, serveSettings } from '../../../config/serve-settings.ts';
import type { RetryPolicy } from '../../../http/retry.ts';
import { formatBytes, formatCount } from '../../../quantity.ts';
import { DiskCache } from '../../../serve/node/disk/disk-cache.ts';
import { type Place, placeOf } from '../../../serve/node/places.ts';
import { DEFAULT_DRAIN_MS, type ServerEvent, startServer } from '../../../serve/node/server.ts';
import { inheritedSockets, notifierOf, ServiceManager, watchdogMs } from '../../../serve/node/service-manager.ts';
import { VERSION } from '../../../version.ts';
import type { Call } from '../../command.ts';
import { Session } from '../../session/session.ts';
import type { Facts } from '../../ui/log-record.ts';
import type { Output } from '../../ui/output.ts';
import { optionsOf, type ReloadableOptions, Reloading } from './reload.ts';
import { welcomeOf } from './welcome.ts';

/**
 * Six seconds, however the delays fall out: a registry that starts anew is waited for, as Nix itself would do. Somebody waits:
 * what it does not give by then Nix takes from its next substituter, or builds, and while it stays away all hear so soon.
 */
const PROMPT_RETRIES: RetryPolicy = {
  attempts: 20,
  baseDelayMs: 250,
  maxDelayMs: 1500,
  deadlineMs: 6000,
  afterOutageMs: 500,
};

/** A host that swallows what is sent to it shows by then, as in Nix 2.29; one that is there is given longer to answer. */
const CONNECT_TIMEOUT_MS = 5000;

/** For what is left to do once the last answer is given or cut off. */
const STOP_MS = 10_000;

export async function runServe(call: Call): Promise<void> {
  const { output, signal, env } = call.context;
  await using session = await Session.open(call, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const settings = serveSettings(session.sources, session.cache.name);
  if (settings.logFormat === 'json') output.logAsJson();
  const reloading = new Reloading(session, settings);
  const options = await optionsOf(session, settings);
  let asked = options.upstreams ?? [];
  const store = await session.lateStore({ retry: { policy: PROMPT_RETRIES } });
  const { onWarning } = session;
  const serving = { hasUpstreams: settings.upstreams.length > 0 };
  const index = await openDirectoryIndex(settings.indexDirectory, onWarning);
  const reader = session.add(
    healing(await IndexReader.open({ store, index, strict: false, use: 'lazily', legacy: 'read', onWarning })),
    (each) => each.close(),
  );
  const objects = settings.diskCache && (await DiskCache.open({ ...settings.diskCache, onWarning }));
  if (objects !== undefined) session.add(objects, (each) => each.close());
  const server = session.add(
    await startServer({
      reader,
      objects,
      ...options,
      signal,
      ...{ places: placesOf(settings, inheritedSockets(env)), version: VERSION },
      logRequests: settings.logRequests || output.level === 'verbose',
      onEvent: (event) => tell(event, { output, reader, ...serving, logRequests: settings.logRequests }),
    }),
    (running) => running.close(),
  );
  call.context.stopMs = DEFAULT_DRAIN_MS + STOP_MS;
  output.result({ url: server.url, cache: store.name }, () => server.url);
  const keys = options.publicKeys ?? [];
  const welcome = { ...settings, url: server.url, isPrivate: options.access?.isPrivate === true, keys };
  for (const { text, facts } of await welcomeOf(reader, welcome)) output.info(text, facts);
  const notify = notifierOf(env);
  const manager = notify && new ServiceManager({ notify, watchdogMs: watchdogMs(env), onWarning });
  if (manager) session.add(manager, (each) => each.close());
  const status = (): string => `${store.name}: ${formatCount(reader.status().entries, 'entry', 'entries')}`;
  void manager?.ready(status());
  const onChange = (changed: ReloadableOptions, { upstreams }: ServeSettings): void => {
    serving.hasUpstreams = upstreams.length > 0;
    server.reload(changed);
    for (const before of asked) before.close();
    asked = changed.upstreams ?? [];
  };
  const begun = (): void => void manager?.reloading();
  const ended = (): void => void manager?.ready(status());
  reloading.begin(onChange, server.reload, { begun, ended });
  await aborted(signal);
  await manager?.stopping();
}

/** Sockets that somebody opened for us, for clients that came before we started; else our own. */
const placesOf = ({ listen, port, socketMode }: ServeSettings, sockets: readonly number[]): readonly Place[] =>
  sockets.length > 0 ? sockets.map((fd) => ({ kind: 'inherited', fd })) : [placeOf(listen, port, socketMode)];

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

interface Serving {
  readonly output: Output;
  readonly reader: Pick<IndexReader, 'name' | 'status'>;
  readonly hasUpstreams: boolean;
  /** Whether each request is told of to everyone, and not only to who wants to know more. */
  readonly logRequests: boolean;
}

function tell(event: ServerEvent, { output: to, reader, hasUpstreams, logRequests }: Serving): void {
  const { type, ...known } = event;
  const facts: Facts = { event: type, ...known };
  const output = {
    info: (text: string) => to.info(text, facts),
    detail: (text: string) => to.detail(text, facts),
    warn: (text: string) => to.warn(text, [], facts),
  };
  const rest = hasUpstreams ? 'only what upstream caches have is served' : 'nothing is served';
  switch (event.type) {
    case 'listening':
      break; // the result says so
    case 'refreshed':
      output.detail(
        `index: ${formatCount(event.entries, 'entry', 'entries')}, ${event.addedSegments} new segments, ${formatBytes(event.bytes)}`,
      );
      break;
    case 'refresh-failed':
      output.warn(
        reader.status().entries > 0
          ? `the index could not be refreshed, the last one is served: ${event.error}`
          : `the index could not be read, and there is none from before: ${rest} until it can: ${event.error}`,
      );
      break;
    case 'nothing-there':
      output.warn(`nothing was published to ${reader.name} yet, if the reference is right: ${rest} until something is`);
      break;
    case 'upstream-failed':
      output.warn(`${event.upstream} failed on ${event.path}: ${event.error}`);
      break;
    case 'upstream-refused':
      output.warn(`nothing is taken from the upstream ${event.upstream}: ${event.reason}`);
      break;
    case 'refused':
      output.warn(`${event.path} is not served: ${event.reason}`);
      break;
    case 'damaged':
      output.warn(
        `${event.path} is not what the cache says and is not offered for now: ${event.error}; 'nixcache verify --contents' finds all that is so`,
      );
      break;
    case 'kept-damaged':
      output.warn(`what the disk cache has of ${event.name} is dropped and fetched anew: ${event.error}`);
      break;
    case 'accept-failed':
      output.warn(`connections cannot be accepted: ${event.error}`);
      break;
    case 'answer-failed':
      output.warn(`${event.path}: ${event.error}`);
      break;
    case 'request':
      output[logRequests ? 'info' : 'detail'](requestLine(event));
      break;
  }
}

/** `GET /nix-cache-info 200 1.2 ms, 310 B to 127.0.0.1, token laptop (4a…-7)` */
function requestLine(event: Extract<ServerEvent, { type: 'request' }>): string {
  const { id, method, path, status, bytes, durationMs, complete, client, token } = event;
  const [to, by] = [client && ` to ${client}`, token && `, token ${token}`].map((text) => text ?? '');
  const cut = complete ? '' : ', cut off';
  return `${method} ${path} ${status} ${durationMs.toFixed(1)} ms${cut}, ${formatBytes(bytes)}${to}${by} (${id})`;
}
