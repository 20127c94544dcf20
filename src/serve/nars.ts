/** `/nar/…`: from the cache, else from the upstreams; streamed. */
import type { Readable } from 'node:stream';
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { narUrl } from '../cache-index/entry.ts';
import { type CallOptions, withDeadline } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { hashToBase32, type NixHash } from '../nix/hash.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { SharedWork } from '../shared-work.ts';
import { PIECE_BYTES } from '../streams/pieces.ts';
import { CircuitOpenError } from '../upstream/circuit-breaker.ts';
import type { Upstream } from '../upstream/upstream.ts';
import {
  type Answer,
  type AskOptions,
  IMMUTABLE,
  NO_STORE,
  NOT_FOUND,
  type OpenOptions,
  redirectAnswer,
  SHORT_LIVED,
} from './answer.ts';
import { parseAnyNarInfo } from './any-nar-info.ts';
import type { DoubtedNars } from './doubted-nars.ts';
import { firstOf } from './first-of.ts';
import type { FirstLoad } from './index-refresher.ts';
import type { KeptNarInfos } from './kept-nar-infos.ts';
import type { KeptNars } from './kept-nars.ts';
import { type CacheNar, cacheNar, type Nar, type UpstreamNar } from './open-nar.ts';
import type { UpstreamNarOpener } from './open-upstream-nar.ts';
import type { OtherNars } from './other-nars.ts';
import { repack } from './repack.ts';
import type { Counters, ServeEvent } from './serve-options.ts';
import type { SharedNars } from './shared-nars.ts';
import type { Trust } from './trust.ts';
import { fileHashIn, type UpstreamNars } from './upstream-nars.ts';
import type { Withheld } from './withheld.ts';

export interface NarsOptions {
  readonly reader: Pick<CacheReader, 'findNarFile' | 'findEntry' | 'entriesOf' | 'locateNar'>;
  readonly shared: Pick<SharedNars, 'open'>;
  readonly kept?: Pick<KeptNars, 'find' | 'has' | 'settle'> | undefined;
  readonly keptNarInfos?: Pick<KeptNarInfos, 'findAt'> | undefined;
  readonly opener: Pick<UpstreamNarOpener, 'locate'>;
  readonly doubted: Pick<DoubtedNars, 'settle'>;
  readonly others: Pick<OtherNars, 'find'>;
  readonly withheld: Pick<Withheld, 'has'>;
  readonly upstreams: readonly Upstream[];
  readonly upstreamNars: UpstreamNars;
  readonly trust: Trust;
  readonly counters: Counters;
  readonly headStartMs: number;
  readonly timeoutMs: number;
  readonly onEvent: (event: ServeEvent) => void;
  readonly firstLoad: FirstLoad;
}

/** Beside once for each upstream: the cache's own, and what is doubted and then read whole. */
const TRIES_BESIDE = 2;

export class Nars {
  readonly #options: NarsOptions;
  readonly #confirming = new Map<string, SharedWork<UpstreamNar | undefined>>();

  constructor(options: NarsOptions) {
    this.#options = options;
  }

  /** Whether `path` is of a kind that NARs have, so that it is worth asking for. */
  names(path: string): boolean {
    const url = path.slice(1);
    return fileHashIn(url) !== undefined || this.#options.upstreamNars.find(url) !== undefined;
  }

  /** What `path` gets, which names a NAR. Not opened yet. */
  async answer(path: string, options: AskOptions): Promise<Answer> {
    const { counters, upstreams, firstLoad } = this.#options;
    const url = path.slice(1);
    const loaded = firstLoad();
    let nar = await this.#locate(url, options);
    if (nar === undefined && loaded) nar = await loaded(options).then(() => this.#locate(url, options));
    if (nar === undefined) counters.narMisses += 1;
    else if ('entry' in nar) counters.narHits += 1;
    else counters.narUpstreamHits += 1;
    if (nar === undefined) return NOT_FOUND;
    const elsewhere = options.mayRedirect && 'entry' in nar ? await this.#locateStorage(nar, options) : undefined;
    return elsewhere === undefined
      ? this.#answerWith(nar, url, options, upstreams.length + TRIES_BESIDE)
      : redirectAnswer(elsewhere);
  }

  /** Where the client may fetch it itself; undefined where it is to have it from here, for whatever reason. */
  async #locateStorage({ entry }: CacheNar, options: CallOptions): Promise<URL | undefined> {
    const { reader, kept } = this.#options;
    if (kept?.has(entry.narInfo.fileHash)) return undefined;
    return await this.#inTime(options, async (signal) => reader.locateNar?.(entry, { signal })).catch(() => undefined);
  }

  /** The same, of what the cache itself has. */
  async ownAnswer(path: string): Promise<Answer> {
    const url = path.slice(1);
    const fileHash = fileHashIn(url);
    const nar = fileHash === undefined ? undefined : await this.#find(url, fileHash);
    return nar === undefined ? NOT_FOUND : narAnswer(nar, url, this.#options.shared);
  }

  /** `tries`: how often it is looked for anew when it turns out not to be had. */
  #answerWith(nar: Nar, url: string, options: AskOptions, tries: number): Answer {
    const { shared, onEvent } = this.#options;
    const otherwise = async (error: unknown): Promise<Answer | undefined> => {
      if (tries === 0) return undefined;
      // What only cannot be had now is not looked for again where it was.
      const next = this.#isLost(nar) ? await this.#locate(url, options) : await this.#findOther(nar, url, options);
      if (next === undefined) return undefined;
      if (!('entry' in nar)) {
        onEvent({ type: 'upstream-failed', upstream: nar.upstream.name, path: `/${url}`, error: messageOf(error) });
      }
      return this.#answerWith(next, url, options, tries - 1);
    };
    return { ...narAnswer(nar, url, shared, options.via), otherwise };
  }

  /** Whether what was said of `nar` is no longer believed. */
  #isLost(nar: Nar): boolean {
    const { withheld, upstreamNars } = this.#options;
    return 'entry' in nar ? withheld.has(nar.entry.narInfo.fileHash) : upstreamNars.isWrong(nar);
  }

  async #locate(url: string, options: AskOptions): Promise<Nar | undefined> {
    const fileHash = fileHashIn(url);
    const own = fileHash === undefined ? undefined : await this.#find(url, fileHash);
    const found = own ?? (await this.#findUpstream(url, options));
    if (found !== undefined) return found;
    const announced = this.#options.upstreamNars.find(url) ?? (fileHash && (await this.#lost(url, fileHash)));
    return announced && (await this.#findOther(announced, url, options));
  }

  /** The same NAR in another file than `nar`, which is had no more. */
  async #findOther(nar: Nar, url: string, { signal, via }: AskOptions): Promise<Nar | undefined> {
    if (nar.repacking !== undefined) return undefined; // there it was looked for
    return await this.#options.others.find(nar, url, { signal: signal ?? new AbortController().signal, via });
  }

  /** What the cache has of it, though not its bytes. */
  async #lost(url: string, fileHash: NixHash): Promise<CacheNar | undefined> {
    const { reader, trust, withheld } = this.#options;
    const entry = withheld.has(fileHash) ? (await reader.findNarFile(fileHash))?.entry : undefined;
    const isIt = entry !== undefined && narUrl(fileHash, entry.narInfo.compression) === url;
    return isIt && trust.allows(entry.narInfo) ? cacheNar(entry) : undefined;
  }

  /** The cache's own, under the name that its compression gives it. */
  async #find(url: string, fileHash: NixHash): Promise<CacheNar | undefined> {
    const { reader, trust, withheld, onEvent } = this.#options;
    if (withheld.has(fileHash)) return undefined;
    try {
      const file = await reader.findNarFile(fileHash);
      if (file === undefined || narUrl(fileHash, file.entry.narInfo.compression) !== url) return undefined;
      const { entry } = file;
      if (trust.allows(entry.narInfo)) return cacheNar(entry);
      // The same path may have been published before with other signatures; what its narinfo says now counts.
      const now = await reader.findEntry(hashPartOf(entry.narInfo.path));
      if (now?.narInfo.fileHash === fileHash && trust.allows(now.narInfo)) return cacheNar(now);
      for (const older of reader.entriesOf?.(hashPartOf(entry.narInfo.path)) ?? []) {
        const { narInfo } = older;
        const isIt = narInfo.fileHash === fileHash && narUrl(fileHash, narInfo.compression) === url;
        if (isIt && trust.allows(narInfo)) return cacheNar(older);
      }
      onEvent({ type: 'refused', path: `/${url}`, reason: 'no trusted key signed it' });
    } catch (error) {
      onEvent({ type: 'answer-failed', path: `/${url}`, error: messageOf(error) });
    }
    return undefined;
  }

  async #findUpstream(url: string, options: AskOptions): Promise<UpstreamNar | undefined> {
    const { upstreamNars, opener, doubted, kept } = this.#options;
    const { signal = new AbortController().signal, via } = options;
    const said = upstreamNars.find(url);
    const claimed = said?.isUnconfirmed ? await this.#confirm(said, { signal, via }) : said;
    if (claimed === undefined && said !== undefined) return undefined;
    // What is kept was right when it came, wherever it is not to be had by now.
    const here = claimed === undefined ? kept?.find(url) : kept?.settle(claimed);
    if (here !== undefined) return here;
    const nar = claimed ?? (await this.#ask(url, options));
    if (nar === undefined) return undefined;
    if (upstreamNars.isWrong(nar)) return await doubted.settle(nar, { signal, via });
    return nar.size === undefined ? await opener.locate(nar, { signal, via }) : nar;
  }

  /** `nar` as its upstream says, or said and we kept, that it has it; asked once for all who want to know. */
  #confirm(nar: UpstreamNar, { signal, via }: AskOptions): Promise<UpstreamNar | undefined> {
    const key = `${nar.ours} ${via}`;
    let running = this.#confirming.get(key);
    if (running === undefined) {
      running = new SharedWork((signal) =>
        this.#askAbout(nar, { signal, via }).finally(() => this.#confirming.delete(key)),
      );
      this.#confirming.set(key, running);
    }
    return running.join({ signal });
  }

  async #askAbout(nar: UpstreamNar, options: AskOptions): Promise<UpstreamNar | undefined> {
    const { onEvent, keptNarInfos } = this.#options;
    const { upstream, hashPart } = nar;
    if (hashPart === undefined) return undefined;
    const kept = await keptNarInfos?.findAt(upstream, hashPart);
    const known = kept && (await this.#confirmed(nar, kept.info));
    if (known !== undefined) return known;
    try {
      const info = await upstream.fetchNarInfo(hashPart, options, parseAnyNarInfo);
      return info && (await this.#confirmed(nar, info));
    } catch (error) {
      options.signal?.throwIfAborted();
      onEvent({ type: 'upstream-failed', upstream: upstream.name, path: `/${nar.ours}`, error: messageOf(error) });
      return undefined;
    }
  }

  /** `nar` with all that `info` says of it, which is remembered; undefined where that is something else. */
  async #confirmed(nar: UpstreamNar, info: NarInfo): Promise<UpstreamNar | undefined> {
    const { upstreamNars, trust } = this.#options;
    if (!trust.allows(info)) return undefined;
    const understood = await upstreamNars.understand(nar.upstream, info);
    if ('refused' in understood || !isSaid(nar, understood.nar)) return undefined;
    const confirmed = { ...understood.nar, ours: nar.ours };
    upstreamNars.remember(confirmed);
    return confirmed;
  }

  /** Which upstream has the NAR, when we do not remember (we were started anew, or it was long ago). */
  async #ask(url: string, options: AskOptions): Promise<UpstreamNar | undefined> {
    const { upstreamNars, upstreams, headStartMs, onEvent } = this.#options;
    const ask = async (upstream: Upstream, signal: AbortSignal): Promise<UpstreamNar | undefined> => {
      const facts = await upstream.statFile(url, { signal, via: options.via });
      return facts && { upstream, url, ours: url, size: facts.size, fileHash };
    };
    const onFailure = ({ name }: Upstream, error: unknown): void => {
      if (error instanceof CircuitOpenError) return;
      onEvent({ type: 'upstream-failed', upstream: name, path: `/${url}`, error: messageOf(error) });
    };
    const fileHash = fileHashIn(url);
    const candidates = upstreams.filter((upstream) => !upstreamNars.isWrong({ upstream, url, fileHash }));
    const nar = await this.#inTime(options, (signal) => firstOf(candidates, ask, { headStartMs, signal, onFailure }));
    if (nar !== undefined) upstreamNars.remember(nar);
    return nar;
  }

  #inTime<T>({ signal }: CallOptions, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { timeoutMs } = this.#options;
    const expired = (): Error => new NixcacheError('ERR_UPSTREAM', `no answer within ${timeoutMs} ms`);
    return withDeadline(timeoutMs, expired, signal, act);
  }
}

/** Whether `said` is the NAR that a URL of ours names, in the same form, wherever it lies by now. */
const isSaid = (nar: UpstreamNar, said: UpstreamNar): boolean =>
  nar.narHash === said.narHash &&
  nar.unpacked?.compression === said.unpacked?.compression &&
  (nar.unpacked === undefined ? nar.size === said.size : nar.unpacked.narSize === said.unpacked?.narSize);

const NAR_TYPE = ['Content-Type', 'application/x-nix-nar'] as const;

function narAnswer(nar: Nar, url: string, shared: Pick<SharedNars, 'open'>, via?: string): Answer {
  const { repacking } = nar;
  if (repacking !== undefined) {
    // Other bytes than those that the URL names: nobody is to keep them under it, or to go on with them after the others.
    const open = async (options: OpenOptions): Promise<Readable> =>
      repack(await shared.open(nar, { ...options, via }), repacking, url);
    return { status: 200, headers: [...NAR_TYPE, 'Cache-Control', NO_STORE], body: { size: undefined, open } };
  }
  const name = nar.fileHash === undefined ? undefined : hashToBase32(nar.fileHash);
  const isPiecewise = 'entry' in nar && (nar.pieces !== undefined || nar.entry.narInfo.fileSize <= PIECE_BYTES);
  const isByHash = nar.fileHash !== undefined && fileHashIn(url) === nar.fileHash;
  return {
    status: 200,
    headers: [...NAR_TYPE, 'Cache-Control', isByHash ? IMMUTABLE : SHORT_LIVED],
    body: { size: nar.size, isPiecewise, open: (options) => shared.open(nar, { ...options, via }) },
    etag: name === undefined ? undefined : `"${name}"`,
  };
}
