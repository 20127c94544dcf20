/** The server as a function from `Request` to `Response`: no socket and no file in sight, and no timer but head starts of upstreams. */
import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import type { Entry } from '../cache-index/entry.ts';
import { messageOf } from '../errors.ts';
import { ALPHABET } from '../nix/nixbase32.ts';
import { HASH_PART_LENGTH, type HashPart } from '../nix/store-path.ts';
import { type Answer, type AskOptions, NOT_FOUND, statusAnswer } from './answer.ts';
import { DoubtedNars } from './doubted-nars.ts';
import { forHolder, Gate } from './gate.ts';
import { IndexRefresher } from './index-refresher.ts';
import {
  cacheInfoAnswer,
  findListing,
  healthAnswer,
  listingAnswer,
  metricsAnswer,
  publicKeysAnswer,
  refreshAnswer,
  robotsAnswer,
  stateAnswer,
} from './info.ts';
import { Inside, urlsInStore } from './inside/inside.ts';
import { ownHostOf } from './inside/store-host.ts';
import { filePathOf, parseStoreTarget, type StoreTarget } from './inside/store-target.ts';
import { KeptNarInfos } from './kept-nar-infos.ts';
import { KeptNars } from './kept-nars.ts';
import type { Measure } from './measure.ts';
import { measuresOf } from './measures.ts';
import { NarInfos } from './nar-infos.ts';
import { Nars } from './nars.ts';
import { notTaken, type UploadState } from './not-taken.ts';
import { type Nar, openNarFrom, type UpstreamNar } from './open-nar.ts';
import { UpstreamNarOpener } from './open-upstream-nar.ts';
import { OtherNars } from './other-nars.ts';
import { buildTraceAnswer, debugInfoAnswer, logAnswer } from './passed-on.ts';
import { findRealisation, realisationAnswer } from './realisations.ts';
import { FROM_ELSEWHERE, isFromElsewhere, Refusals } from './refusals.ts';
import { originForm, pathOf } from './request-path.ts';
import { type ReportFailure, respond } from './respond.ts';
import { type Counters, newCounters, type ServeOptions } from './serve-options.ts';
import { SharedNars } from './shared-nars.ts';
import { Slots } from './slots.ts';
import { StoreDirs } from './store-dirs.ts';
import { Trust } from './trust.ts';
import { UploadRoutes } from './upload/upload-routes.ts';
import { UpstreamNarInfos } from './upstream-nar-infos.ts';
import { UpstreamNars } from './upstream-nars.ts';
import { VerifiedNars } from './verified-nars.ts';
import { pagesOf } from './web/routes.ts';
import { Site } from './web/site.ts';
import { Withheld } from './withheld.ts';

const DEFAULT_PRIORITY = 30;
const DEFAULT_INDEX_TTL_MS = 300_000;
const DEFAULT_HEAD_START_MS = 150;
/** Each upstream has shorter limits of its own; this is for all that they add up to. */
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_NEGATIVE_TTL_MS = 60_000;

/** Each may have 64 MiB while it is read; they are parsed one at a time. */
const MAX_LISTINGS = 8;

const READ: readonly string[] = ['GET', 'HEAD'];
const POST: readonly string[] = ['POST'];
const TAKES: RouteOptions = { takes: true };
const HASH_PART = `[${ALPHABET}]{${HASH_PART_LENGTH}}`;

const LOOP = statusAnswer(508, [], 'this server is, maybe by way of others, an upstream of itself');

/** What `path`, which is decoded, gets; undefined if it names nothing. */
type FindAnswer = (path: string, options: AskOptions, request: Request) => Answer | Promise<Answer> | undefined;

interface RouteOptions {
  /** Whether there can be anything at `path`. */
  readonly exists?: ((path: string) => boolean) | undefined;
  /** Uploads go there. */
  readonly takes?: boolean | undefined;
}

export class App {
  readonly refresher: IndexRefresher;
  readonly counters: Counters;
  /** An adapter may ask these directly: of narinfos there are thousands a second. */
  readonly narInfos: NarInfos;
  /** Undefined where everything is for everyone. */
  readonly gate: Gate | undefined;
  readonly measures: readonly Measure[];
  readonly #hono = new Hono({ getPath: (request) => this.#pathOf(request) });
  readonly #onEvent: NonNullable<ServeOptions['onEvent']>;
  readonly #refusals: Refusals;
  readonly #redirects: boolean;
  readonly #learn: () => Promise<void>;
  readonly #storeDirs: StoreDirs;
  /** At each `<hash part>.<host>` is what is in that path, and nothing else. */
  readonly storeHost: string | undefined;
  /** Undefined where nothing can be uploaded. */
  readonly #uploading: UploadRoutes | undefined;
  /** Ours in Via headers: what comes back with it went round in a circle. */
  readonly #name = `nixcache-${randomUUID()}`;
  /** For what is asked of upstreams on behalf of a client. */
  readonly via = `1.1 ${this.#name}`;

  constructor(options: ServeOptions) {
    const { reader, upstreams = [], headStartMs = DEFAULT_HEAD_START_MS, onEvent = () => {} } = options;
    const { now = () => new Date(), version = 'unknown', publicKeys = [], priority = DEFAULT_PRIORITY } = options;
    const { negativeTtlMs = DEFAULT_NEGATIVE_TTL_MS, narInfoTimeoutMs: timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    const { counters = newCounters(), startedAt = now() } = options;
    const { objects } = options;
    this.counters = counters;
    this.#onEvent = onEvent;
    this.#refusals = new Refusals(onEvent, now);
    this.#redirects = options.redirect ?? false;
    this.gate = options.access && new Gate(options.access);
    const keptNarInfos = objects && new KeptNarInfos(objects, now);
    const trust = new Trust(options.trustedPublicKeys ?? []);
    const upstreamNars = new UpstreamNars(upstreams);
    const withheld = new Withheld();
    const onStoreDir = (): void => upstreamNarInfos.clear();
    const storeDirs = new StoreDirs({ reader, upstreams, onEvent, now, keptNarInfos, onChange: onStoreDir });
    this.#storeDirs = storeDirs;
    this.storeHost = options.storeHost;
    const onLost = (nar: Nar, error: Error): void => {
      if (!('entry' in nar)) {
        upstreamNars.forget({ ...nar, ...opener.placeOf(nar) }, error);
        if (nar.hashPart !== undefined) upstreamNarInfos.forget(nar.hashPart);
        return; // the answer that fails is told of
      }
      const { fileHash, url } = nar.entry.narInfo;
      if (!withheld.add(fileHash)) return;
      narInfos.clear();
      onEvent({ type: 'damaged', path: `/${url}`, error: messageOf(error) });
    };
    const onGone = ({ hashPart }: UpstreamNar): void => {
      if (hashPart !== undefined) upstreamNarInfos.forget(hashPart);
    };
    const { narHeadStartMs } = options;
    const opener = new UpstreamNarOpener({ upstreams, upstreamNars, narHeadStartMs, onEvent, onGone });
    const slots = new Slots(options.maxOpenNars ?? Number.POSITIVE_INFINITY);
    const open = openNarFrom(reader, opener);
    const verified = new VerifiedNars({ open, onLost, slots });
    const kept = objects && new KeptNars({ objects, upstreams, open, counters, onEvent, slots });
    const doubted = new DoubtedNars({ opener, upstreamNars, maxOpen: options.maxOpenNars });
    const shared = {
      reader,
      upstreams,
      upstreamNars,
      storeDirs,
      trust,
      withheld,
      counters,
      headStartMs,
      timeoutMs,
      now,
      kept,
      keptNarInfos,
      onEvent,
      firstLoad: () => refresher.firstLoad(),
    };
    const upstreamNarInfos = new UpstreamNarInfos({ ...shared, negativeTtlMs });
    const narInfos = new NarInfos({ ...shared, upstreams: upstreamNarInfos });
    const others = new OtherNars({ ...shared, doubted });
    const { spools, isNear = false } = options;
    const sharedNars = new SharedNars({ kept, verified, spools, isNear });
    const nars = new Nars({ ...shared, shared: sharedNars, opener, doubted, others });
    const ttlMs = options.indexTtlMs ?? DEFAULT_INDEX_TTL_MS;
    const onChange = (): void => {
      withheld.clear();
      narInfos.clear();
      storeDirs.review();
    };
    const onRefreshed = (): void => site.counting.review();
    const refresher = new IndexRefresher({ reader, onEvent, ttlMs, onChange, onRefreshed, counters, now });
    this.measures = measuresOf({ ...shared, objects, uploads: options.uploads, gate: this.gate, version });
    this.narInfos = narInfos;
    this.refresher = refresher;
    this.#learn = () => storeDirs.learn();
    const { uploads, signingKeys: keys = [] } = options;
    if (uploads !== undefined) {
      uploads.onChange = (hashPart) => {
        const { nar, narInfo } = uploads.pending.get(hashPart) ?? {};
        if (nar !== undefined && narInfo !== undefined) withheld.remove(narInfo.fileHash);
        narInfos.forget(hashPart);
      };
      uploads.publicKeys = keys.map(({ publicKey }) => publicKey.text);
      uploads.refresh = () => refresher.refresh();
      uploads.findUpstream = (hashPart, { signal }) => upstreamNarInfos.findInfo(hashPart, { signal, via: this.via });
      uploads.findRealisation = (id, { signal }) => findRealisation(shared, id, { signal, via: this.via });
      const isServed = (info: Entry['narInfo']): boolean => trust.allows(info) && !withheld.has(info.fileHash);
      const storeDir = (): string => storeDirs.current;
      uploads.isServed = isServed;
      const firstLoad = (): ReturnType<IndexRefresher['firstLoad']> => refresher.firstLoad();
      this.#uploading = new UploadRoutes({ uploads, reader, trust, keys, isServed, storeDir, firstLoad });
    }

    const orOnceLoaded = async (answer: () => Promise<Answer>, options: AskOptions): Promise<Answer> => {
      const loaded = refresher.firstLoad();
      const found = await answer();
      return found === NOT_FOUND && loaded ? loaded(options).then(answer) : found;
    };
    this.#hono.notFound(({ req }) => respond(req.raw, req.path, NOT_FOUND, this.brokeOff));
    this.#hono.onError((error, { req }) => {
      this.brokeOff(req.path, error);
      return respond(req.raw, req.path, statusAnswer(500), this.brokeOff);
    });
    this.#route('/nix-cache-info', READ, cacheInfoAnswer({ ...shared, priority }));
    this.#route(`/:name{${HASH_PART}\\.narinfo}`, READ, (path, options) => narInfos.answer(path, options), TAKES);
    const listings = { ...shared, upstreamNarInfos };
    const listingSlots = new Slots(MAX_LISTINGS);
    const findOneListing = async (hashPart: HashPart, options: AskOptions): Promise<Buffer | undefined> => {
      const release = await listingSlots.take(options).catch(() => undefined); // who left reads no answer
      return release && (await findListing(listings, hashPart, options).finally(release));
    };
    const inside = new Inside({
      answerNarInfo: (path, options) => narInfos.answer(path, options),
      answerNar: (path, options) => nars.answer(path, { ...options, mayRedirect: false }),
      findListing: findOneListing,
      trustsIndex: !trust.isOn,
      limits: options.insideLimits,
      onEvent,
    });
    const listingOf = async (path: string, options: AskOptions): Promise<Answer> => {
      const published = await orOnceLoaded(() => listingAnswer(findOneListing, path, options), options);
      return published === NOT_FOUND ? await inside.listingAnswer(path, options) : published;
    };
    this.#route(`/:name{${HASH_PART}\\.ls}`, READ, listingOf, TAKES);
    const nar: FindAnswer = (path, options, { method, headers }) => {
      const mayPush = this.#mayPush(headers);
      const unclaimed = trust.isOn && !mayPush ? undefined : this.#uploading?.unclaimedNar(path);
      // Who uploads asks so whether to send it: what only an upstream has is to be sent.
      const isToBeSent = mayPush && method === 'HEAD';
      return unclaimed ?? (isToBeSent ? nars.ownAnswer(path) : nars.answer(path, options));
    };
    this.#route('/nar/*', READ, nar, { ...TAKES, exists: (path) => nars.names(path) });
    const realisation: FindAnswer = (path, options) =>
      orOnceLoaded(() => realisationAnswer(shared, path, options), options);
    this.#route('/realisations/*', READ, realisation, TAKES);
    this.#route('/build-trace-v2/*', READ, (path, options) => buildTraceAnswer(shared, path, options));
    this.#route('/log/*', READ, (path, options) => logAnswer(shared, path, options));
    this.#route('/debuginfo/*', READ, (path, options) => debugInfoAnswer(shared, path, options));
    const site = new Site({
      ...{ ...shared, publicKeys, version, now, retention: options.retention },
      ...{ trustedPublicKeys: options.trustedPublicKeys ?? [], isPrivate: this.gate?.isPrivate === true },
    });
    for (const [pattern, find] of pagesOf(site)) this.#route(pattern, READ, find);
    const trustedPublicKeys = options.trustedPublicKeys?.map(({ text }) => text) ?? [];
    const publicKeysNow = publicKeysAnswer({ ...shared, publicKeys, trustedPublicKeys });
    this.#route('/public-key', READ, async (path, options) => {
      await refresher.firstLoad()?.(options); // ours alone would be half of them
      return publicKeysNow(path, options);
    });
    this.#route('/robots.txt', READ, robotsAnswer(storeDirs));
    this.#route('/health', READ, healthAnswer(reader));
    if (options.metrics !== undefined) this.#route('/metrics', READ, metricsAnswer(options.metrics));
    this.#route('/_status', READ, stateAnswer({ ...shared, objects, uploads, trustedPublicKeys, version, startedAt }));
    this.#route('/_refresh', POST, (_path, options) => {
      upstreamNarInfos.askAnew();
      upstreamNars.clear();
      storeDirs.clear();
      inside.clear();
      onChange(); // also what was mended in place, which changes no index
      return refreshAnswer(refresher, options);
    });
    const targetOf = (path: string): StoreTarget | undefined => parseStoreTarget(path, storeDirs.current);
    this.#route(
      '*',
      READ,
      (path, options, { method, headers }) => {
        const target = targetOf(path);
        const urls =
          target && (ownHostOf(headers.get('host'), this.storeHost)?.urls ?? urlsInStore(target, storeDirs.current));
        return target && urls && inside.answer(target, { method, headers, urls }, options);
      },
      { exists: (path) => targetOf(path) !== undefined },
    );
  }

  /** What `request` gets. Never throws or rejects; a NAR's source is closed when its body is, or `request.signal` aborts. */
  fetch(request: Request): Response | Promise<Response> {
    const { method, url, headers } = request;
    const path = this.#pathOf(request);
    const refusal = this.gate?.refusal(method, path, headers.get('authorization'));
    if (refusal === undefined) return this.#hono.fetch(request);
    this.#refusals.tell(method, path, refusal);
    return respond(request, url, refusal.answer, this.brokeOff);
  }

  /** `answer` as it leaves: that of a private cache is kept by nobody but who asked. */
  shown(answer: Answer): Answer {
    return this.gate?.isPrivate === true ? forHolder(answer) : answer;
  }

  /** Gets to know the upstreams, beside the requests. */
  load(): void {
    void this.#learn();
  }

  /** Tells of an answer to `path` that could not be begun, or was not sent to its end. */
  readonly brokeOff: ReportFailure = (path, error) => {
    this.counters.failures += 1;
    this.#onEvent({ type: 'answer-failed', path, error: messageOf(error) });
  };

  /** Of files in store paths, names may be such as nothing else here has. */
  #pathOf({ url, headers }: Request): string {
    const storeDir = this.#storeDirs.current;
    const ownHost = this.storeHost && ownHostOf(headers.get('host'), this.storeHost);
    const path = !ownHost ? pathOf(url) : undefined;
    if (path !== undefined) return path;
    const file = filePathOf(originForm(url)) ?? '';
    if (ownHost) return file === '' ? '' : `${storeDir}/${ownHost.hashPart}${file}`;
    return file.startsWith(`${storeDir}/`) ? file : '';
  }

  get #uploadState(): UploadState {
    if (this.#uploading === undefined) return 'off';
    return this.gate?.isUploadable === true ? 'on' : 'closed';
  }

  #mayPush(headers: Headers): boolean {
    if (this.#uploading === undefined) return false;
    return this.gate?.holderOf(headers.get('authorization'))?.scopes.includes('push') === true;
  }

  #route(
    pattern: string,
    methods: readonly string[],
    find: FindAnswer,
    { exists = () => true, takes = false }: RouteOptions = {},
  ): void {
    this.#hono.all(pattern, ({ req: { raw, path } }): Response | Promise<Response> => {
      const send = (answer: Answer | undefined): Response | Promise<Response> =>
        respond(raw, path, this.shown(answer ?? NOT_FOUND), this.brokeOff);
      const isUpload = raw.method === 'PUT' && takes && this.#uploading !== undefined && this.#mayPush(raw.headers);
      if (!isUpload && !exists(path)) return send(NOT_FOUND);
      const { method } = raw;
      if (!isUpload && !methods.includes(method))
        return send(notTaken({ method, path }, { methods, takes, uploads: this.#uploadState }));
      if (!READ.includes(method) && isFromElsewhere(raw)) {
        this.#refusals.tell(method, path, FROM_ELSEWHERE);
        return send(FROM_ELSEWHERE.answer);
      }
      const theirs = raw.headers.get('via');
      if (theirs?.includes(this.#name)) return send(LOOP);
      const via = theirs === null ? this.via : `${theirs}, ${this.via}`;
      if (isUpload) return this.#uploading.put(raw, path, { signal: raw.signal }).then(send);
      // Of HEAD the answer is known here, and such URLs are signed for GET alone.
      const mayRedirect = this.#redirects && raw.method === 'GET';
      const answer = find(path, { signal: raw.signal, via, mayRedirect }, raw);
      return answer instanceof Promise ? answer.then(send) : send(answer);
    });
  }
}
