/** `/nar/…`: from the cache, else from the upstreams; streamed. */
import type { CacheReader, NarFile } from '../../cache/read/cache-reader.ts';
import { narUrl } from '../../cache-index/entry.ts';
import { messageOf } from '../../errors.ts';
import { hashToBase32, type NixHash } from '../../nix/hash.ts';
import { hashPartOf } from '../../nix/store-path.ts';
import { LeftAloneError } from '../../upstream/circuit-breaker.ts';
import type { Upstream } from '../../upstream/upstream.ts';
import { type Answer, type FileBody, IMMUTABLE, NOT_FOUND, SHORT_LIVED } from '../answer.ts';
import type { Counters } from '../counters.ts';
import { firstOf } from '../first-of.ts';
import { READ, type Route } from '../route.ts';
import type { ServeEvent } from '../serve-options.ts';
import type { Trust } from '../trust.ts';
import { upstreamNarBody } from '../upstream-nar-body.ts';
import { namesFileHash, type UpstreamNar, type UpstreamNars } from '../upstream-nars.ts';

export interface NarRouteOptions {
  readonly reader: CacheReader;
  readonly upstreams: readonly Upstream[];
  readonly nars: UpstreamNars;
  readonly trust: Trust;
  readonly counters: Counters;
  readonly headStartMs: number;
  readonly timeoutMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

const PREFIX = 'nar/';
/** Characters of nix base-32 in a SHA-256. */
const HASH_LENGTH = 52;

export class NarRoute implements Route {
  readonly methods = READ;
  readonly #options: NarRouteOptions;

  constructor(options: NarRouteOptions) {
    this.#options = options;
  }

  match(path: string): (() => Answer | Promise<Answer>) | undefined {
    const url = path.slice(1);
    if (!url.startsWith(PREFIX)) return undefined;
    if (namesFileHash(url)) return () => this.#byFileHash(url);
    const nar = this.#options.nars.find(url);
    return nar === undefined ? undefined : () => this.#fromUpstream(url, nar);
  }

  async #byFileHash(url: string): Promise<Answer> {
    const { nars, reader, counters } = this.#options;
    const fileHash = `sha256:${url.slice(PREFIX.length, PREFIX.length + HASH_LENGTH)}` as NixHash;
    const file = await this.#find(url, fileHash);
    if (file !== undefined) {
      counters.narHits += 1;
      const { entry, size } = file;
      return narAnswer({ size, open: (options) => reader.openNar(entry, options) }, fileHash, url);
    }
    const nar = nars.find(url) ?? (await this.#ask(url));
    if (nar === undefined) {
      counters.narMisses += 1;
      return NOT_FOUND;
    }
    return await this.#fromUpstream(url, nar);
  }

  /** The cache's own, under the name that its compression gives it. */
  async #find(url: string, fileHash: NixHash): Promise<NarFile | undefined> {
    const { reader, trust, onEvent } = this.#options;
    try {
      const file = await reader.findNarFile(fileHash);
      if (file === undefined || narUrl(fileHash, file.entry.narInfo.compression) !== url) return undefined;
      if (trust.allows(file.entry.narInfo)) return file;
      // The same path may have been published before with other signatures; what its narinfo says now counts.
      const entry = await reader.findEntry(hashPartOf(file.entry.narInfo.path));
      if (entry?.narInfo.fileHash === fileHash && trust.allows(entry.narInfo)) return { entry, size: file.size };
      onEvent({ type: 'refused', path: `/${url}`, reason: 'no trusted key signed it' });
    } catch (error) {
      onEvent({ type: 'answer-failed', path: `/${url}`, error: messageOf(error) });
    }
    return undefined;
  }

  /** Which upstream has the NAR, when we do not remember (we were started anew, or it was long ago). */
  async #ask(url: string): Promise<UpstreamNar | undefined> {
    const { nars, upstreams, headStartMs, timeoutMs, onEvent } = this.#options;
    const signal = AbortSignal.timeout(timeoutMs);
    const ask = async (upstream: Upstream, signal: AbortSignal): Promise<UpstreamNar | undefined> => {
      const facts = await upstream.statFile(url, { signal });
      return facts === undefined ? undefined : { upstream, url, size: facts.size };
    };
    const onFailure = ({ name }: Upstream, error: unknown): void => {
      if (error instanceof LeftAloneError) return;
      onEvent({ type: 'upstream-failed', upstream: name, path: `/${url}`, error: messageOf(error) });
    };
    const nar = await firstOf(upstreams, ask, { headStartMs, signal, onFailure });
    if (nar !== undefined) nars.remember(url, nar);
    return nar;
  }

  async #fromUpstream(url: string, nar: UpstreamNar): Promise<Answer> {
    const { counters, timeoutMs, onEvent } = this.#options;
    let known = nar;
    if (nar.size === undefined) {
      try {
        const facts = await nar.upstream.statFile(nar.url, { signal: AbortSignal.timeout(timeoutMs) });
        if (facts === undefined) {
          counters.narMisses += 1;
          return NOT_FOUND;
        }
        known = { ...nar, size: facts.size };
      } catch (error) {
        // Some caches know no HEAD: the NAR is then sent without saying how long it is.
        const upstream = nar.upstream.name;
        onEvent({ type: 'upstream-failed', upstream, path: `/${url}`, error: messageOf(error) });
      }
    }
    counters.narUpstreamHits += 1;
    return narAnswer(upstreamNarBody(known), nar.fileHash, url);
  }
}

function narAnswer(body: FileBody, fileHash: NixHash | undefined, url: string): Answer {
  const isByHash = namesFileHash(url);
  const name = fileHash === undefined ? (isByHash ? url : undefined) : hashToBase32(fileHash);
  return {
    status: 200,
    headers: ['Content-Type', 'application/x-nix-nar', 'Cache-Control', isByHash ? IMMUTABLE : SHORT_LIVED],
    body,
    etag: name === undefined ? undefined : `"${name}"`,
  };
}
