/** What is told beside narinfos and NARs: what this cache is, how it is, and what is in its NARs. */
import { type CacheReader, type CacheStatus, pathsOf } from '../cache/read/cache-reader.ts';
import { type CallOptions, withDeadline } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { formatNarListing, parseNarListing } from '../nar/nar-listing.ts';
import { MAX_LISTING_BYTES } from '../nix/nar-info.ts';
import { formatNixCacheInfo } from '../nix/nix-cache-info.ts';
import { HASH_PART_LENGTH, type HashPart } from '../nix/store-path.ts';
import { SharedWork } from '../shared-work.ts';
import { readBounded } from '../streams/verify.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { advertisedKeys } from './advertised-keys.ts';
import {
  type Answer,
  jsonAnswer,
  NO_STORE,
  NOT_FOUND,
  SHORT_LIVED,
  textAnswer,
  type AskOptions as UpstreamAskOptions,
} from './answer.ts';
import type { FirstLoad, IndexRefresher } from './index-refresher.ts';
import type { ObjectCache } from './object-cache.ts';
import type { Counters, ServeEvent, ServeOptions } from './serve-options.ts';
import type { StoreDirs } from './store-dirs.ts';
import type { Trust } from './trust.ts';
import type { Uploads, UploadsStatus } from './upload/uploads.ts';
import type { UpstreamNarInfos } from './upstream-nar-infos.ts';

const PLAIN_TEXT = 'text/plain; charset=utf-8';

/**
 * `/nix-cache-info`: always there, for an empty cache as well, or Nix would try to write it. Nix keeps for days what it says, so
 * that the index and upstreams are waited for, a while, where they decide what store it is for.
 */
export function cacheInfoAnswer({
  reader,
  storeDirs,
  priority,
  firstLoad,
}: {
  readonly reader: Pick<CacheReader, 'status'>;
  readonly storeDirs: Pick<StoreDirs, 'current' | 'learn'>;
  readonly priority: number;
  readonly firstLoad: FirstLoad;
}): (path: string, options: CallOptions) => Answer | Promise<Answer> {
  const answer = (): Answer => {
    const text = formatNixCacheInfo({ storeDir: storeDirs.current, wantMassQuery: true, priority });
    return textAnswer(text, 'text/x-nix-cache-info', SHORT_LIVED);
  };
  return (_path, { signal }) => {
    if (pathsOf(reader.status()) > 0) return answer();
    const learn = (signal: AbortSignal): Promise<unknown> =>
      Promise.all([storeDirs.learn({ signal }), firstLoad()?.({ signal })]);
    return withDeadline(STORE_DIR_WAIT_MS, late(STORE_DIR_WAIT_MS), signal, learn).then(answer, answer);
  };
}

/** As long as what is slow, and alive, mostly takes. */
const STORE_DIR_WAIT_MS = 3000;

const WELL = textAnswer('ok\n', PLAIN_TEXT, NO_STORE);
const NO_INDEX: Answer = { ...textAnswer('no index yet\n', PLAIN_TEXT, NO_STORE), status: 503, etag: undefined };

/** `/health`: whether we know what is in the cache, whatever the registry and the upstreams are now. */
export const healthAnswer = (reader: Pick<CacheReader, 'status'>) => (): Answer =>
  indexState(reader.status()) === 'unread' ? NO_INDEX : WELL;

/** `/metrics`, for Prometheus. */
export function metricsAnswer(metrics: ServeOptions['metrics']): () => Promise<Answer> | undefined {
  return () => metrics?.text().then((text) => textAnswer(text, METRICS_TEXT, NO_STORE));
}

const METRICS_TEXT = 'text/plain; version=0.0.4; charset=utf-8';

/** `/robots.txt`: whoever followed every link in every package would have all of them unpacked. */
export const robotsAnswer = (storeDirs: Pick<StoreDirs, 'current'>) => (): Answer =>
  textAnswer(
    `User-agent: *\nDisallow: ${storeDirs.current}/\nDisallow: /nar/\nDisallow: /log/\n`,
    PLAIN_TEXT,
    SHORT_LIVED,
  );

interface AskOptions {
  readonly timeoutMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

const late = (timeoutMs: number) => (): Error => new NixcacheError('ERR_NETWORK', `no answer within ${timeoutMs} ms`);

export interface PublicKeysOptions extends AskOptions {
  readonly reader: Pick<CacheReader, 'fetchPublicKeys'>;
  readonly publicKeys: readonly string[];
  readonly trustedPublicKeys: readonly string[];
}

/** `/public-key`: what stands in trusted-public-keys, one a line. */
export function publicKeysAnswer({
  reader,
  publicKeys: own,
  trustedPublicKeys: trusted,
  timeoutMs,
  onEvent,
}: PublicKeysOptions): (path: string, options: CallOptions) => Promise<Answer> {
  const theirs = new SharedWork((signal) =>
    withDeadline(timeoutMs, late(timeoutMs), signal, (signal) => reader.fetchPublicKeys({ signal })),
  );
  return async (path, options) => {
    const named = () =>
      theirs.join(options).catch((error: unknown) => {
        onEvent({ type: 'answer-failed', path, error: messageOf(error) });
        return [];
      });
    const keys = await advertisedKeys({ own, trusted, named });
    return keys.length === 0 ? NOT_FOUND : textAnswer(`${keys.join('\n')}\n`, PLAIN_TEXT, SHORT_LIVED);
  };
}

export interface ListingOptions extends AskOptions {
  readonly reader: Pick<CacheReader, 'findEntry' | 'fetchListing'>;
  readonly upstreamNarInfos: Pick<UpstreamNarInfos, 'findSource'>;
  readonly trust: Trust;
}

/**
 * `/<32 characters>.ls`: the listing of a NAR, where it was published; of a path that the cache lacks, from the upstream whose
 * narinfo is given for it, and from no other.
 */
export async function listingAnswer(
  find: (hashPart: HashPart, ask: UpstreamAskOptions) => Promise<Buffer | undefined>,
  path: string,
  ask: UpstreamAskOptions,
): Promise<Answer> {
  const text = await find(path.slice(1, 1 + HASH_PART_LENGTH) as HashPart, ask);
  return text === undefined ? NOT_FOUND : textAnswer(text.toString('utf8'), 'application/json', SHORT_LIVED);
}

/** The listing as it is published, written anew; undefined for none, and for one that cannot be had or read. */
export async function findListing(
  { reader, upstreamNarInfos, trust, timeoutMs, onEvent }: ListingOptions,
  hashPart: HashPart,
  { signal, via }: UpstreamAskOptions,
): Promise<Buffer | undefined> {
  const path = `/${hashPart}.ls`;
  const fetchTheirs = async (signal: AbortSignal): Promise<Buffer | undefined> => {
    const upstream = await upstreamNarInfos.findSource(hashPart, { signal, via });
    const file = await upstream?.openFile(`${hashPart}.ls`, { signal, via });
    return file && (await readBounded(file.body, MAX_LISTING_BYTES, `${upstream?.name}${path}`, 'ERR_UPSTREAM'));
  };
  try {
    const entry = await reader.findEntry(hashPart);
    const own = entry !== undefined && trust.allows(entry.narInfo) ? entry : undefined;
    const listing = await withDeadline(timeoutMs, late(timeoutMs), signal, (signal) =>
      own === undefined ? fetchTheirs(signal) : reader.fetchListing(own, { signal }),
    );
    // Parsed and written anew: whoever made it, what clients get is a listing and nothing else.
    return listing && formatNarListing(parseNarListing(listing.toString('utf8')));
  } catch (error) {
    onEvent({ type: 'answer-failed', path, error: messageOf(error) });
    return undefined;
  }
}

/** `POST /_refresh`: asks the registry now. */
export async function refreshAnswer(refresher: IndexRefresher, options: CallOptions): Promise<Answer> {
  try {
    return jsonAnswer(200, { refreshed: true, ...(await refresher.refresh(options)) });
  } catch (error) {
    return jsonAnswer(502, { refreshed: false, error: messageOf(error) });
  }
}

export interface StatusOptions {
  readonly reader: Pick<CacheReader, 'name' | 'status'>;
  readonly storeDirs: Pick<StoreDirs, 'current' | 'refusalOf'>;
  readonly upstreams: readonly Upstream[];
  readonly counters: Counters;
  readonly objects: Pick<ObjectCache, 'usage'> | undefined;
  readonly uploads: Pick<Uploads, 'status'> | undefined;
  readonly trustedPublicKeys: readonly string[];
  readonly version: string;
  readonly now: () => Date;
  readonly startedAt: Date;
}

/** `unread`: there is none, not even from an earlier run; `outdated`: one that could not be refreshed, or was not yet. */
export function indexState({ entries, segments, refreshedAt, lastError }: CacheStatus): string {
  if (refreshedAt === undefined && entries === 0) return 'unread';
  if (refreshedAt === undefined || lastError !== undefined) return 'outdated';
  return segments === 0 ? 'empty' : 'current';
}

function uploadsState(
  { pending, pendingBytes, oldest, unclaimedNars, lastCommitAt, lastError, troubles }: UploadsStatus,
  secondsSince: (time: Date) => number,
): object {
  return {
    ...{ pending, pendingBytes, oldestSeconds: oldest === undefined ? null : secondsSince(oldest), unclaimedNars },
    ...{ lastCommitAt: lastCommitAt?.toISOString() ?? null, lastError: lastError ?? null, troubles },
  };
}

/** `/_status`: what a person or a monitor wants to know, as JSON. Its fields are part of the interface. */
export function stateAnswer(options: StatusOptions): () => Answer {
  const { reader, storeDirs, upstreams, counters, objects, uploads, version, now, startedAt } = options;
  const { trustedPublicKeys } = options;
  const secondsSince = (time: Date): number => Math.max(0, Math.round((now().getTime() - time.getTime()) / 1000));
  return () => {
    const status = reader.status();
    const { segments, generation, refreshedAt, lastError } = status;
    return jsonAnswer(200, {
      version,
      uptimeSeconds: secondsSince(startedAt),
      cache: reader.name,
      storeDir: storeDirs.current,
      entries: pathsOf(status), // also those that no trusted key signed, which are not served
      segments,
      trustedPublicKeys,
      index: {
        state: indexState(status),
        generation,
        refreshedAt: refreshedAt?.toISOString() ?? null,
        ageSeconds: refreshedAt === undefined ? null : secondsSince(refreshedAt),
        lastError: lastError ?? null,
      },
      upstreams: upstreams.map((upstream) => {
        const { url, state, isAnswering = null, lastError, latencyMs } = upstream.health();
        const refused = storeDirs.refusalOf(upstream) ?? null;
        return { url, state, isAnswering, refused, lastError: lastError ?? null, latencyMs: latencyMs ?? null };
      }),
      diskCache: objects?.usage() ?? null,
      uploads: uploads === undefined ? null : uploadsState(uploads.status(), secondsSince),
      counters,
    });
  };
}
