/** Serves until a signal comes. */

import type { CacheReader } from '../../../cache/read/cache-reader.ts';
import { serveCaches } from '../../../config/serve-caches.ts';
import type { ServeSettings } from '../../../config/serve-settings.ts';
import { formatBytes, formatCount } from '../../../quantity.ts';
import { type Place, placeOf } from '../../../serve/node/places.ts';
import { DEFAULT_DRAIN_MS, type ServerEvent, startServer } from '../../../serve/node/server.ts';
import { inheritedSockets, notifierOf, ServiceManager, watchdogMs } from '../../../serve/node/service-manager.ts';
import { VERSION } from '../../../version.ts';
import type { Call } from '../../command.ts';
import { Session } from '../../session/session.ts';
import type { Facts } from '../../ui/log-record.ts';
import type { Output } from '../../ui/output.ts';
import { openCache, openKeeping, openOthers } from './open-cache.ts';
import { optionsOf, type ReloadableOptions, Reloading } from './reload.ts';
import { COMMIT_STOP_MS, openUploads } from './uploads.ts';
import { welcomeOf } from './welcome.ts';

/** A host that swallows what is sent to it shows by then, as in Nix 2.29; one that is there is given longer to answer. */
const CONNECT_TIMEOUT_MS = 5000;

/** For what is left to do once the last answer is given or cut off. */
const STOP_MS = 10_000;

export async function runServe(call: Call): Promise<void> {
  const { output, signal, env } = call.context;
  await using session = await Session.open(call, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const [first, ...rest] = serveCaches(session.sources);
  const { settings } = first;
  if (settings.logFormat === 'json') output.logAsJson();
  const reloading = new Reloading(session, [first, ...rest]);
  const options = await optionsOf(session, settings);
  const { onWarning } = session;
  const serving = { output, logRequests: settings.logRequests, hasUpstreams: settings.upstreams.length > 0 };
  const cached = await openCache(session, first);
  let reader: CacheReader = cached;
  const onEvent = (event: ServerEvent): void => tell(event, { ...serving, reader });
  const uploads = await openUploads(session, first, { reader: cached, options, onEvent });
  reader = uploads?.reader() ?? cached;
  const others = await openOthers(session, rest, (event, telling) => tell(event, { ...serving, ...telling }));
  let asked = [options, ...others.map((each) => each.options)];
  const keeping = await openKeeping(session, first);
  const server = session.add(
    await startServer({
      reader,
      uploads,
      ...keeping,
      ...options,
      signal,
      ...{ places: placesOf(settings, inheritedSockets(env)), version: VERSION },
      logRequests: settings.logRequests || output.level === 'verbose',
      ...{ prefix: first.prefix, others: others.map(({ mounted }) => mounted) },
      onEvent,
    }),
    (running) => running.close(),
  );
  const takesUploads = [uploads, ...others.map(({ mounted }) => mounted.uploads)].some(Boolean);
  call.context.stopMs = DEFAULT_DRAIN_MS + STOP_MS + (takesUploads ? COMMIT_STOP_MS : 0);
  output.result({ url: server.url, cache: reader.name }, () => server.url);
  await welcome(output, server.url, [
    { reader, settings, options },
    ...others.map(({ mounted, options }, index) => ({
      ...mounted,
      settings: rest[index]?.settings ?? settings,
      options,
    })),
  ]);
  const notify = notifierOf(env);
  const manager = notify && new ServiceManager({ notify, watchdogMs: watchdogMs(env), onWarning });
  if (manager) session.add(manager, (each) => each.close());
  const status = (): string => `${reader.name}: ${formatCount(reader.status().entries, 'entry', 'entries')}`;
  void manager?.ready(status());
  const onChange = (changes: readonly ReloadableOptions[], { upstreams }: ServeSettings): void => {
    serving.hasUpstreams = upstreams.length > 0;
    const [changed, ...changedOthers] = changes;
    for (const [index, { access }] of changes.entries()) {
      if (asked[index]?.access?.isPrivate !== true || access?.isPrivate === true) continue;
      const { name } = index === 0 ? reader : (others[index - 1]?.mounted.reader ?? reader);
      output.warn(`whoever can connect reads ${name} from now on: no file of tokens for readers is named any more`);
    }
    server.reload(changed, changedOthers);
    for (const [index] of changes.entries()) for (const upstream of asked[index]?.upstreams ?? []) upstream.close();
    asked = asked.map((before, index) => changes[index] ?? before);
  };
  const begun = (): void => void manager?.reloading();
  const ended = (): void => void manager?.ready(status());
  reloading.begin(onChange, () => server.reload(), { begun, ended });
  await aborted(signal);
  await manager?.stopping();
}

interface Welcomed {
  readonly prefix?: string | undefined;
  readonly reader: Parameters<typeof welcomeOf>[0];
  readonly settings: ServeSettings;
  readonly options: ReloadableOptions;
}

async function welcome(output: Output, url: string, caches: readonly Welcomed[]): Promise<void> {
  for (const { prefix = '', reader, settings, options } of caches) {
    const { access, publicKeys: keys = [] } = options;
    const told = { ...settings, url: `${url}${prefix}`, isPrivate: access?.isPrivate === true, keys };
    for (const { text, facts } of await welcomeOf(reader, told)) output.info(text, facts);
  }
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
  /** With what was uploaded. */
  readonly reader: Pick<CacheReader, 'name' | 'status'>;
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
  const served = [reader.status().uploaded && 'what was uploaded', hasUpstreams && 'what upstream caches have'];
  const rest = `${served.some(Boolean) ? `only ${served.filter(Boolean).join(' and ')}` : 'nothing'} is served`;
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
    case 'uploaded':
      output.detail(`${event.path} was uploaded`);
      break;
    case 'uploads-committed':
      output.info(`${formatCount(event.paths, 'uploaded path is', 'uploaded paths are')} in ${reader.name} now`);
      break;
    case 'upload-refused':
      output.warn(`an upload of ${event.path} was refused: ${event.reason}`);
      break;
    case 'uploads-waiting':
      output.warn(
        `${formatCount(event.paths, 'uploaded path waits', 'uploaded paths wait')}, since ${reader.name} cannot be written to, which is tried again: ${event.error}`,
      );
      break;
    case 'upload-not-committed':
      output.warn(`${event.path} was uploaded and cannot be brought into ${reader.name} for now: ${event.reason}`);
      break;
    case 'accept-failed':
      output.warn(`connections cannot be accepted: ${event.error}`);
      break;
    case 'request-refused':
      output.warn(
        `${event.method} ${event.path} was refused (${event.status}): ${event.reason}${moreOf(event.before)}`,
      );
      break;
    case 'answer-failed':
      output.warn(`${event.path}: ${event.error}`);
      break;
    case 'request':
      output[logRequests ? 'info' : 'detail'](requestLine(event));
      break;
  }
}

const moreOf = (before: number): string =>
  before === 0 ? '' : `; so were ${formatCount(before, 'other request', 'other requests')} before`;

/** `GET /nix-cache-info 200 1.2 ms, 310 B to 127.0.0.1, token laptop (4a…-7)` */
function requestLine(event: Extract<ServerEvent, { type: 'request' }>): string {
  const { id, method, path, status, bytes, durationMs, complete, client, token } = event;
  const [to, by] = [client && ` to ${client}`, token && `, token ${token}`].map((text) => text ?? '');
  const cut = complete ? '' : ', cut off';
  return `${method} ${path} ${status} ${durationMs.toFixed(1)} ms${cut}, ${formatBytes(bytes)}${to}${by} (${id})`;
}
