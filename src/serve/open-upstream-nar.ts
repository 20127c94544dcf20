/**
 * Opens NARs of upstreams: where their narinfo said, and where that has nothing or fails, at any other upstream that has the
 * very bytes that were promised. Broken off, they go on where they broke.
 */
import type { Readable, Transform } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { digestOfFile } from '../cache-index/entry.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { canDecompress } from '../nar/decompress.ts';
import { maxPackedBytes, verifyPacked } from '../nar/verify-packed.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { OpenRange } from '../streams/byte-range.ts';
import { type Opened, openResumed } from '../streams/resumed-stream.ts';
import { verifyEnd, verifyRange, verifyStream } from '../streams/verify.ts';
import { CircuitOpenError } from '../upstream/circuit-breaker.ts';
import type { SourceFile } from '../upstream/file-source.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { AskOptions, OpenOptions } from './answer.ts';
import { parseAnyNarInfo } from './any-nar-info.ts';
import { BrokenNarError } from './broken-nar.ts';
import { firstOf } from './first-of.ts';
import type { UpstreamNar } from './open-nar.ts';
import type { ServeEvent } from './serve-options.ts';
import { fileHashIn, type UpstreamNars } from './upstream-nars.ts';

export interface UpstreamNarOpenerOptions {
  readonly upstreams: readonly Upstream[];
  readonly upstreamNars: Pick<UpstreamNars, 'isWrong'>;
  readonly onEvent: (event: ServeEvent) => void;
  /** By how much the upstream that announced a NAR is asked before the others; default 1500 ms. */
  readonly narHeadStartMs?: number | undefined;
  /** No upstream has the NAR any more that was announced. */
  readonly onGone: (nar: UpstreamNar) => void;
}

interface OpenNarOptions extends OpenOptions {
  /** Whether no other upstream is to be asked. */
  readonly isAlone?: boolean | undefined;
}

interface FindOptions {
  /** Where it was before. */
  readonly before?: Place | undefined;
  /** Whether that place comes last. */
  readonly isLast?: boolean | undefined;
  readonly isAlone?: boolean | undefined;
}

/** Where a NAR turned out to be. */
interface Place {
  readonly upstream: Upstream;
  readonly url: string;
}

interface OpenedNar {
  readonly place: Place;
  readonly file: SourceFile;
}

/** 32 768 pairs of hashes are 8 MB. */
const MAX_VOUCHED_FOR = 32_768;
/** Of one download; after that the others come first. */
const MAX_BREAKS = 2;
/** Longer than NARs mostly take to begin, so that one is rarely asked for twice. */
const DEFAULT_HEAD_START_MS = 1500;

export class UpstreamNarOpener {
  readonly #options: UpstreamNarOpenerOptions;
  readonly #places = new WeakMap<UpstreamNar, Place>();
  /** File hashes, with the NAR hash that they were seen to unpack to. */
  readonly #vouchedFor = new LRUCache<string, true>({ max: MAX_VOUCHED_FOR });

  constructor(options: UpstreamNarOpenerOptions) {
    this.#options = options;
  }

  /**
   * A NAR, or a range of it. A whole one with a file hash ends in an error unless it has that hash.
   *
   * @throws {NixcacheError} ERR_NOT_FOUND when no upstream has it; ERR_NETWORK, ERR_UPSTREAM
   */
  async open(nar: UpstreamNar, { signal, range, via, isAlone = false }: OpenNarOptions): Promise<Readable> {
    const { size, fileHash } = nar;
    const { offset, length } = range ?? { offset: 0, length: size };
    const what = nameOf(nar);
    let opened: OpenedNar | undefined;
    const breaks = new Map<Upstream, number>();
    const openAt = async (position: number, stop: AbortSignal): Promise<Opened> => {
      const isAll = range === undefined && position === 0;
      const rest = length === undefined ? undefined : length - position;
      const part = { offset: offset + position, ...(range === undefined ? {} : { length: rest }) };
      const before = opened?.place;
      const count = before === undefined ? 0 : (breaks.get(before.upstream) ?? 0) + 1;
      if (before !== undefined) breaks.set(before.upstream, count);
      const isLast = fileHash !== undefined && count >= MAX_BREAKS;
      const at = { signal: stop, via, range: isAll ? undefined : part };
      const next = await this.#find(nar, at, { before, isLast, isAlone });
      if (opened === undefined) this.#places.set(nar, next.place);
      const isSame = opened === undefined || opened.place.upstream === next.place.upstream;
      const [then, now] = [opened?.file.etag, next.file.etag];
      if (isSame ? then !== undefined && now !== undefined && then !== now : fileHash === undefined) {
        next.file.body.destroy();
        throw new NixcacheError('ERR_UPSTREAM', `${what} has changed while it was read`);
      }
      opened = next;
      return next.file;
    };
    const endedAt = (position: number): Error =>
      new NixcacheError('ERR_UPSTREAM', `${what} ended after ${position} of ${length} bytes`);
    const check = checkOf(nar, range, what);
    const source = await openResumed({ open: openAt, size: () => length, endedAt, givenUp, signal }, check);
    return range === undefined ? await this.#unpacking(source, nar, what) : source;
  }

  /** `source`, checked by what it unpacks to, once. @throws {NixcacheError} ERR_UPSTREAM when nothing can be checked */
  async #unpacking(source: Readable, { fileHash, unpacked }: UpstreamNar, what: string): Promise<Readable> {
    const key = fileHash && unpacked && `${fileHash} ${unpacked.narHash}`;
    if (key !== undefined && this.#vouchedFor.has(key)) return source;
    if (unpacked !== undefined && (await canDecompress(unpacked.compression))) {
      const checked = verifyPacked(source, unpacked, what);
      return key === undefined ? checked : checked.once('end', () => this.#vouchedFor.set(key, true));
    }
    if (fileHash !== undefined) return source;
    source.destroy();
    throw new NixcacheError('ERR_UPSTREAM', `${what} has no file hash, and cannot be unpacked here to check it`);
  }

  /** Where `nar` was opened last; undefined when that is long ago. */
  placeOf(nar: UpstreamNar): Place | undefined {
    return this.#places.get(nar);
  }

  /** `nar` where it is and as long as it is, by asking for it. Undefined when no upstream has it. */
  async locate(nar: UpstreamNar, options: OpenOptions): Promise<UpstreamNar | undefined> {
    try {
      const { place, file } = await this.#find(nar, options);
      file.body.destroy();
      return { ...nar, ...place, size: file.size ?? nar.size };
    } catch (error) {
      if (options.signal.aborted) throw error;
      return undefined;
    }
  }

  /** The first that opens, the one that announced it (or where it was `before`) with a head start. */
  async #find(
    nar: UpstreamNar,
    { signal, ...options }: Omit<OpenOptions, 'range'> & { readonly range?: OpenRange | undefined },
    { before = nar, isLast = false, isAlone = false }: FindOptions = {},
  ): Promise<OpenedNar> {
    const {
      upstreams,
      upstreamNars,
      narHeadStartMs: headStartMs = DEFAULT_HEAD_START_MS,
      onEvent,
      onGone,
    } = this.#options;
    const failures: { readonly upstream: string; readonly error: unknown }[] = [];
    const open = async (upstream: Upstream, signal: AbortSignal): Promise<OpenedNar | undefined> => {
      const url = upstream === before.upstream ? before.url : await this.#urlAt(upstream, nar, { ...options, signal });
      if (url === undefined || upstreamNars.isWrong({ ...nar, upstream, url })) return undefined;
      const file = await upstream.openFile(url, { ...options, signal, isAnnounced: true });
      if (file === undefined) return undefined;
      if (nar.size === undefined || file.size === undefined || file.size === nar.size) {
        return { place: { upstream, url }, file };
      }
      file.body.destroy();
      const [path, what] = [`${upstream.name}/${url}`, `${file.size} bytes, not ${nar.size} as announced`];
      throw new NixcacheError('ERR_DIGEST_MISMATCH', `${path} has ${what}`);
    };
    const onFailure = ({ name }: Upstream, error: unknown): void => void failures.push({ upstream: name, error });
    const others = isAlone ? [] : upstreams.filter((each) => each !== before.upstream);
    const candidates = isLast ? [...others, before.upstream] : [before.upstream, ...others];
    const discard = ({ file }: OpenedNar): void => void file.body.destroy();
    const opened = await firstOf(candidates, open, { headStartMs, signal, onFailure, discard });
    if (opened === undefined) signal.throwIfAborted();
    // The first is thrown, if there is nothing else to give.
    for (const { upstream, error } of failures.slice(opened === undefined ? 1 : 0)) {
      if (error instanceof CircuitOpenError) continue; // told when it began
      onEvent({ type: 'upstream-failed', upstream, path: `/${nar.url}`, error: messageOf(error) });
    }
    if (opened !== undefined) return opened;
    onGone(nar);
    if (failures[0] !== undefined) throw failures[0].error;
    throw new NixcacheError('ERR_NOT_FOUND', `${nameOf(nar)} is not there, although it should be`);
  }

  /** Under which name `upstream` has the bytes that were promised, if it may have them. */
  async #urlAt(upstream: Upstream, nar: UpstreamNar, options: AskOptions): Promise<string | undefined> {
    // Named by its hash, it is the same wherever it is.
    if (nar.hashPart === undefined) return fileHashIn(nar.ours) === undefined ? undefined : nar.ours;
    const info = await upstream.fetchNarInfo(nar.hashPart, options, parseAnyNarInfo);
    return info !== undefined && keepsPromise(info, nar) ? info.url : undefined;
  }
}

/** Whether the file of `info` is as good as the one that was announced for `nar`, whoever has it. */
function keepsPromise(info: NarInfo, { narHash, fileHash, unpacked }: UpstreamNar): boolean {
  if (info.narHash !== narHash) return false;
  // Not compressed, the file is the NAR.
  if (fileHash !== undefined) return (info.compression === 'none' ? info.narHash : info.fileHash) === fileHash;
  return info.compression === unpacked?.compression;
}

/** 1 TiB, where nobody said how large the NAR is: no store path is larger, and a stream without end ends. */
const MAX_NAR_BYTES = 1024 ** 4;

/** Of a range nothing vouches for more than its length. */
function checkOf({ size, fileHash, unpacked }: UpstreamNar, range: OpenOptions['range'], what: string): Transform {
  if (range !== undefined) return verifyRange(range.length, what);
  const maxBytes = size ?? (unpacked ? maxPackedBytes(unpacked.narSize) : MAX_NAR_BYTES);
  if (fileHash !== undefined) return verifyStream({ digest: digestOfFile(fileHash), size, maxBytes }, what);
  return size === undefined ? verifyEnd(maxBytes, what) : verifyRange(size, what);
}

const givenUp = (error: unknown): unknown =>
  isNixcacheError(error, 'ERR_NETWORK', 'ERR_UPSTREAM') ? new BrokenNarError(error.code, error) : error;

const nameOf = ({ upstream, url }: Place): string => `${upstream.name}/${url}`;
