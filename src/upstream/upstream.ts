/** One binary cache that we ask: retried, guarded by a circuit breaker, and never believed without parsing. */

import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { type CallOptions, withDeadline } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { type Clock, systemClock } from '../http/clock.ts';
import { HttpError } from '../http/http-error.ts';
import type { HttpFetch } from '../http/http-fetch.ts';
import { isConnectTimeout, NetworkError, timeoutError } from '../http/network-error.ts';
import { Retrier, type RetryCall, type RetryEvent } from '../http/retry.ts';
import { MAX_NAR_INFO_BYTES, type NarInfo, parseNarInfo } from '../nix/nar-info.ts';
import { type ParsedNixCacheInfo, parseNixCacheInfo } from '../nix/nix-cache-info.ts';
import { parseRealisation, type Realisation } from '../nix/realisation.ts';
import { DEFAULT_STORE_DIR, type HashPart, hashPartOf, parseStorePath, type StorePath } from '../nix/store-path.ts';
import { readBounded } from '../streams/verify.ts';
import { askAgain } from './ask-again.ts';
import { type BreakerState, CircuitBreaker, CircuitOpenError, type Verdict } from './circuit-breaker.ts';
import { DirectorySource } from './directory-source.ts';
import {
  type FileSource,
  type OpenFileOptions,
  resolveInside,
  type SourceFacts,
  type SourceFile,
} from './file-source.ts';
import { HttpSource } from './http-source.ts';
import { PATIENT, type Patience } from './patience.ts';
import { SilenceWatch } from './silence-watch.ts';
import { UnreadableFileError, UnreadableFiles } from './unreadable-file.ts';
import type { UpstreamCache } from './upstream-cache.ts';

export interface UpstreamOptions {
  readonly http: HttpFetch;
  readonly patience?: Patience | undefined;
  readonly storeDir?: string | undefined;
  readonly clock?: Clock | undefined;
  /** Something is asked for again after a while. */
  readonly onRetry?: ((event: RetryEvent) => void) | undefined;
  /** The breaker opened or closed again. */
  readonly onHealthChange?: ((health: UpstreamHealth) => void) | undefined;
}

export interface UpstreamHealth {
  readonly url: string;
  readonly state: BreakerState;
  /** Whether it answered when it was last heard of; undefined: it was not asked yet. */
  readonly isAnswering: boolean | undefined;
  /** Message of the last failure since the last success. */
  readonly lastError: string | undefined;
  /** Of the last answer, in milliseconds. */
  readonly latencyMs: number | undefined;
}

/** What is read as a whole. */
export interface SmallFile<T> {
  /** Relative to the cache. */
  readonly url: string;
  readonly maxBytes: number;
  /** @throws when the text is none of these */
  readonly parse: (text: string) => T;
}

interface GuardOptions extends Pick<RetryCall, 'alsoRetry'> {
  readonly retrier?: Retrier;
  readonly verdict?: (error: unknown) => Verdict;
}

/** Through whom the request comes, for those that are asked on behalf of others. */
export type AskOptions = Pick<OpenFileOptions, 'signal' | 'via'>;

/**
 * What `error` says of the cache as a whole. Every answer about one file, garbage and what is no HTTP included, says that it is
 * there, and so does a request to come again later.
 */
function verdictOn(error: unknown): Verdict {
  if (error instanceof NetworkError && error.garbled) return 'answer';
  if (error instanceof NetworkError) return error.silent || isConnectTimeout(error) ? 'silence' : 'outage';
  return error instanceof HttpError && error.retryable && error.status >= 500 ? 'outage' : 'answer';
}

/** The same of one about a NAR: which may have to be made, or be lost on its way, and is waited for in peace, beside all others. */
const verdictOnNar = (error: unknown): Verdict => {
  const verdict = verdictOn(error);
  return verdict === 'silence' && !isConnectTimeout(error) ? 'unknown' : verdict;
};

/** 64 KiB: a nix-cache-info has three short lines. */
const MAX_CACHE_INFO_BYTES = 64 * 1024;
/** 1 MiB: hundreds of others that one relies on. */
const MAX_REALISATION_BYTES = 1024 * 1024;

export class Upstream {
  readonly cache: UpstreamCache;
  /** Ours for the cache in URLs: the same in every process, whatever other upstreams there are. */
  readonly id: string;
  readonly #source: FileSource;
  readonly #breaker: CircuitBreaker;
  readonly #retrier: Retrier;
  readonly #announced: Retrier;
  readonly #clock: Clock;
  readonly #storeDir: string;
  readonly #watch: SilenceWatch | undefined;
  readonly #askAgainMs: number | undefined;
  #latencyMs: number | undefined;
  readonly #unreadable = new UnreadableFiles();
  /** What was asked for last: whether that is answered tells how the cache is. */
  #lastUrl = 'nix-cache-info';

  constructor(cache: UpstreamCache, options: UpstreamOptions) {
    const { http, patience = PATIENT, clock = systemClock, onRetry, onHealthChange } = options;
    this.cache = cache;
    this.id = createHash('sha256').update(cache.url).digest('hex').slice(0, 12);
    this.#clock = clock;
    this.#storeDir = options.storeDir ?? DEFAULT_STORE_DIR;
    this.#source = cache.url.startsWith('file:')
      ? new DirectorySource(cache.url)
      : new HttpSource(cache, http, this.#clock);
    this.#retrier = new Retrier({ policy: patience.retry, clock, onRetry });
    this.#announced = new Retrier({ policy: patience.announced ?? patience.retry, clock, onRetry });
    const { silence: policy, askAgainMs } = patience;
    this.#askAgainMs = askAgainMs;
    this.#breaker = new CircuitBreaker({
      name: cache.url,
      policy: patience.breaker,
      clock,
      verdict: verdictOn,
      probe: (signal) => this.#probe(signal),
      onChange: () => onHealthChange?.(this.health()),
    });
    this.#watch =
      policy &&
      new SilenceWatch({
        ...{ policy, clock, onSuspicion: () => this.#breaker.suspect() },
        silent: (ms) => this.#timeoutError(`nothing was answered for ${Math.round(ms / 1000)} s`),
      });
  }

  /** Asks for nothing more of its own accord. What is under way goes on. */
  close(): void {
    this.#breaker.close();
  }

  /** For messages; without credentials. */
  get name(): string {
    return this.cache.url;
  }

  health(): UpstreamHealth {
    const { state, isAnswering, lastError } = this.#breaker;
    return { url: this.name, state, isAnswering, lastError, latencyMs: this.#latencyMs };
  }

  /** @throws {NixcacheError} ERR_UPSTREAM, ERR_NETWORK */
  async fetchCacheInfo(options: CallOptions = {}): Promise<ParsedNixCacheInfo | undefined> {
    return await this.#readText('nix-cache-info', MAX_CACHE_INFO_BYTES, parseNixCacheInfo, options);
  }

  /**
   * The narinfo of the path with this hash part, as `parse` reads it, which by default takes none of another store; undefined
   * only if the cache definitely has none.
   *
   * @throws {NixcacheError} ERR_UPSTREAM, ERR_NETWORK
   */
  async fetchNarInfo(
    hashPart: HashPart,
    options: AskOptions = {},
    parse: (text: string) => NarInfo = (text) => parseNarInfo(text, this.#storeDir),
  ): Promise<NarInfo | undefined> {
    return await this.#readText(`${hashPart}.narinfo`, MAX_NAR_INFO_BYTES, parse, options, hashPart);
  }

  /** The realisation with this id. @throws {NixcacheError} ERR_UPSTREAM, ERR_NETWORK */
  async fetchRealisation(id: string, options: AskOptions = {}): Promise<Realisation | undefined> {
    const parse = (text: string): Realisation => parseRealisation(text, id);
    return await this.#readText(`realisations/${id}.doi`, MAX_REALISATION_BYTES, parse, options);
  }

  /** A small file of any other kind, as `parse` reads it. @throws {NixcacheError} ERR_UPSTREAM, ERR_NETWORK */
  async fetchFile<T extends object>(
    { url, maxBytes, parse }: SmallFile<T>,
    options: AskOptions,
  ): Promise<T | undefined> {
    return await this.#readText(url, maxBytes, parse, options);
  }

  /** The store path that the cache has under this hash part. A GET, because that is what content networks keep. */
  async hasNarInfo(hashPart: HashPart, options: CallOptions = {}): Promise<StorePath | undefined> {
    const parse = (text: string): { readonly path: StorePath } => {
      const path = /^StorePath: (.*)$/m.exec(text)?.[1];
      if (path === undefined) throw new NixcacheError('ERR_FORMAT', 'it has no StorePath, so it is no narinfo');
      return { path: parseStorePath(path, this.#storeDir) };
    };
    const found = await this.#readText(`${hashPart}.narinfo`, MAX_NAR_INFO_BYTES, parse, options, hashPart);
    return found?.path;
  }

  /**
   * Opens the NAR at `url` as a narinfo of this cache names it; undefined if it has none. What is `isAnnounced` is waited for
   * longer, since who asks has been told that it is there.
   *
   * @throws {NixcacheError} ERR_UPSTREAM, ERR_NETWORK, ERR_RANGE
   */
  async openFile(
    url: string,
    { isAnnounced = false, ...options }: OpenFileOptions & { readonly isAnnounced?: boolean | undefined } = {},
  ): Promise<SourceFile | undefined> {
    const retrier = isAnnounced ? this.#announced : this.#retrier;
    const alsoRetry = (error: unknown): boolean => isAnnounced && error instanceof CircuitOpenError;
    const open = (signal?: AbortSignal): Promise<SourceFile | undefined> =>
      this.#source.open(url, { bulk: true, ...options, signal });
    const discard = (file: SourceFile | undefined): void => void file?.body.destroy();
    const afterMs = isAnnounced ? this.#askAgainMs : undefined;
    const { signal } = options;
    const act = (): Promise<SourceFile | undefined> =>
      afterMs === undefined ? open(signal) : askAgain(open, { afterMs, signal, discard });
    return await this.#guarded(() => this.#suspecting(act), signal, { retrier, alsoRetry, verdict: verdictOnNar });
  }

  /** Runs `act`, about a NAR; has it looked into whether the cache answers anything, when it did not answer that. */
  async #suspecting<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (verdictOnNar(error) === 'unknown') this.#breaker.suspect();
      throw error;
    }
  }

  /** Whether a NAR may be at `url`: of a cache over HTTP, wherever http leads; of one in a directory, below that. */
  reaches(url: string): boolean {
    const { url: base } = this.cache;
    return base.startsWith('file:')
      ? resolveInside(base, url) !== undefined
      : /^https?:$/.test(URL.parse(url, `${base}/`)?.protocol ?? '');
  }

  /** What the answer to a GET says of a file, for a HEAD is not to be had everywhere: a signed URL is for one method. */
  async statFile(url: string, options: AskOptions = {}): Promise<SourceFacts | undefined> {
    const file = await this.openFile(url, options);
    file?.body.destroy();
    return file;
  }

  async #readText<T extends object>(
    url: string,
    maxBytes: number,
    parse: (text: string) => T,
    { signal, via }: AskOptions,
    hashPart?: HashPart,
  ): Promise<T | undefined> {
    const { timeoutMs } = this.cache;
    this.#lastUrl = url;
    const expired = (): Error => this.#timeoutError(`no whole answer within ${Math.round(timeoutMs / 1000)} s`, url);
    const read = async (signal: AbortSignal): Promise<T | undefined> => {
      const file = await this.#source.open(url, { signal, via });
      if (file === undefined) return undefined;
      const bytes = await readBounded(file.body, maxBytes, `${this.name}/${url}`, 'ERR_UPSTREAM');
      return this.#parsed(url, () => parse(bytes.toString('utf8')), hashPart);
    };
    const ask = (signal?: AbortSignal): Promise<T | undefined> => withDeadline(timeoutMs, expired, signal, read);
    const watch = this.#watch;
    const isAnswer = (error: unknown): boolean => verdictOn(error) !== 'silence';
    const askWatched = (): Promise<T | undefined> =>
      watch === undefined ? ask(signal) : watch.run(ask, { signal, isAnswer });
    return await this.#unreadable.watch((alsoRetry) => this.#guarded(askWatched, signal, { alsoRetry }));
  }

  /** Whether the cache answers again what it did not answer, however long that takes it. */
  async #probe(signal: AbortSignal): Promise<void> {
    const start = this.#clock.now();
    const file = await this.#source.open(this.#lastUrl, { signal });
    file?.body.destroy();
    this.#latencyMs = this.#clock.now() - start;
    this.#watch?.heard(this.#latencyMs);
  }

  #timeoutError(what: string, url = ''): NetworkError {
    return timeoutError(what, { method: 'GET', url: new URL(`${this.cache.url}/${url}`) }, { silent: true });
  }

  #parsed<T extends object>(url: string, parse: () => T, hashPart: HashPart | undefined): T {
    let value: T;
    try {
      value = parse();
    } catch (cause) {
      throw new UnreadableFileError(`${this.name}/${url}`, messageOf(cause), cause);
    }
    if (hashPart !== undefined && 'path' in value && hashPartOf(value.path as StorePath) !== hashPart) {
      throw new UnreadableFileError(`${this.name}/${url}`, `it is about another path, ${String(value.path)}`);
    }
    return value;
  }

  async #guarded<T>(
    act: () => Promise<T>,
    signal: AbortSignal | undefined,
    { retrier = this.#retrier, verdict, ...call }: GuardOptions = {},
  ): Promise<T> {
    let failure: unknown;
    const attempt = async (): Promise<T> => {
      const start = this.#clock.now();
      try {
        const value = await act();
        this.#latencyMs = this.#clock.now() - start;
        return value;
      } catch (error) {
        failure = error;
        throw error;
      }
    };
    try {
      return await retrier.run(() => this.#breaker.run(attempt, signal, { verdict }), { ...call, signal });
    } catch (error) {
      // What went wrong says more than that it was then left alone.
      throw error instanceof CircuitOpenError ? (failure ?? error) : error;
    }
  }
}

/** The compressed NAR of `narInfo`, to be opened as often as it takes. */
interface NarFile extends NarInfo {
  readonly name: string;
  readonly open: (options: CallOptions) => Promise<Readable | undefined>;
}

export const narFileOf = (upstream: Pick<Upstream, 'openFile' | 'name'>, narInfo: NarInfo): NarFile => ({
  ...narInfo,
  name: upstream.name,
  open: async (options) => (await upstream.openFile(narInfo.url, options))?.body,
});
