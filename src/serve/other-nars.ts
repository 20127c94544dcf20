/**
 * What is given for a NAR whose file is nowhere to be had any more: the same NAR out of another file, which our cache or
 * another upstream has, put into the form that was announced. Nix checks what it unpacks to, and not the file: whoever asked
 * all those caches itself would get it as well.
 */
import { LRUCache } from 'lru-cache';
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { messageOf } from '../errors.ts';
import { canCompress } from '../nar/compress.ts';
import { canDecompress } from '../nar/decompress.ts';
import type { NixHash } from '../nix/hash.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import { SharedWork } from '../shared-work.ts';
import { CircuitOpenError } from '../upstream/circuit-breaker.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OpenOptions } from './answer.ts';
import { parseAnyNarInfo } from './any-nar-info.ts';
import type { DoubtedNars } from './doubted-nars.ts';
import { type CacheNar, cacheNar, type Nar, type UpstreamNar } from './open-nar.ts';
import type { ServeEvent } from './serve-options.ts';
import type { StoreDirs } from './store-dirs.ts';
import type { Trust } from './trust.ts';
import type { UpstreamNars } from './upstream-nars.ts';
import type { Withheld } from './withheld.ts';

export interface OtherNarsOptions {
  readonly reader: Pick<CacheReader, 'findEntry'>;
  readonly doubted: Pick<DoubtedNars, 'read'>;
  readonly upstreamNars: Pick<UpstreamNars, 'understand' | 'isWrong'>;
  readonly storeDirs: Pick<StoreDirs, 'usable'>;
  readonly withheld: Pick<Withheld, 'has'>;
  readonly trust: Pick<Trust, 'allows'>;
  readonly onEvent: (event: ServeEvent) => void;
}

/** What was announced. */
interface Wanted {
  readonly nar: Nar;
  /** Our URL. */
  readonly url: string;
  readonly hashPart: HashPart;
  readonly narHash: NixHash;
  readonly compression: string;
}

/** Ten minutes: after that, what was announced is looked for again. */
const TTL_MS = 600_000;
const MAX_KEPT = 1024;

export class OtherNars {
  readonly #options: OtherNarsOptions;
  readonly #kept = new LRUCache<string, Nar>({ max: MAX_KEPT, ttl: TTL_MS });
  readonly #running = new Map<string, SharedWork<Nar | undefined>>();

  constructor(options: OtherNarsOptions) {
    this.#options = options;
  }

  /** Another file with the NAR of `nar`, which was announced under `url`; undefined when nobody has one. */
  async find(nar: Nar, url: string, options: OpenOptions): Promise<Nar | undefined> {
    const wanted = wantedOf(nar, url);
    if (wanted === undefined || !(await canCompress(wanted.compression))) return undefined;
    const kept = this.#kept.get(url);
    if (kept !== undefined && !this.#isLost(kept)) return kept;
    const { signal, via } = options;
    const key = `${url} ${via}`;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = new SharedWork((signal) =>
        this.#find(wanted, { signal, via }).finally(() => this.#running.delete(key)),
      );
      this.#running.set(key, running);
    }
    return running.join({ signal });
  }

  async #find(wanted: Wanted, options: OpenOptions): Promise<Nar | undefined> {
    const { narHash, compression: to } = wanted;
    for await (const nar of this.#candidates(wanted, options)) {
      if (isSame(nar, wanted.nar)) continue;
      const [from, narSize] = 'entry' in nar ? [nar.entry.narInfo.compression, nar.entry.narInfo.narSize] : formOf(nar);
      if (narSize === undefined || !(await canDecompress(from))) continue;
      // Of what the cache has, the pieces are known, or are checked when it is opened.
      const read = 'entry' in nar ? nar : await this.#options.doubted.read(nar, options);
      if (read === undefined) continue;
      const found = { ...read, repacking: { from, to, narHash, narSize } };
      this.#kept.set(wanted.url, found);
      return found;
    }
    return undefined;
  }

  /** Files that are said to hold the NAR, likeliest first. */
  async *#candidates(
    { hashPart, narHash }: Pick<Wanted, 'hashPart' | 'narHash'>,
    { signal, via }: OpenOptions,
  ): AsyncGenerator<CacheNar | UpstreamNar> {
    const { reader, upstreamNars, storeDirs, withheld, trust, onEvent } = this.#options;
    const ask = async (upstream: Upstream): Promise<UpstreamNar | undefined> => {
      try {
        const info = await upstream.fetchNarInfo(hashPart, { signal, via }, parseAnyNarInfo);
        if (info?.narHash !== narHash) return undefined;
        const understood = await upstreamNars.understand(upstream, info);
        return 'nar' in understood ? understood.nar : undefined;
      } catch (error) {
        if (signal.aborted || error instanceof CircuitOpenError) return undefined;
        onEvent({
          type: 'upstream-failed',
          ...{ upstream: upstream.name, path: `/${hashPart}.narinfo`, error: messageOf(error) },
        });
        return undefined;
      }
    };
    const asked = storeDirs.usable.map(ask);
    const entry = await reader.findEntry(hashPart);
    if (entry?.narInfo.narHash === narHash && !withheld.has(entry.narInfo.fileHash) && trust.allows(entry.narInfo)) {
      yield cacheNar(entry);
    }
    for (const nar of asked) {
      const found = await nar;
      if (found !== undefined) yield found;
    }
    signal.throwIfAborted();
  }

  #isLost(nar: Nar): boolean {
    const { withheld, upstreamNars } = this.#options;
    return 'entry' in nar ? withheld.has(nar.entry.narInfo.fileHash) : upstreamNars.isWrong(nar);
  }
}

function wantedOf(nar: Nar, url: string): Wanted | undefined {
  if ('entry' in nar) {
    const { path, narHash, compression } = nar.entry.narInfo;
    return { nar, url, hashPart: hashPartOf(path), narHash, compression };
  }
  const { hashPart, narHash } = nar;
  if (hashPart === undefined || narHash === undefined) return undefined;
  return { nar, url, hashPart, narHash, compression: formOf(nar)[0] };
}

/** How it is compressed, and how long it is when it is not. */
const formOf = ({ unpacked, size }: UpstreamNar): readonly [compression: string, narSize: number | undefined] =>
  unpacked === undefined ? ['none', size] : [unpacked.compression, unpacked.narSize];

/** Whether `nar` is the very file that is had no more. */
function isSame(nar: Nar, lost: Nar): boolean {
  if (!('entry' in lost) && lost.isUnconfirmed) return false; // it was not looked for
  if (nar.fileHash !== undefined && nar.fileHash === lost.fileHash) return true;
  return !('entry' in nar || 'entry' in lost) && nar.upstream === lost.upstream && nar.url === lost.url;
}
