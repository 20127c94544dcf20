/** Opens NARs, wherever their bytes are. Whatever keeps, shares or takes bytes on their way wraps an `OpenNar`. */
import { PassThrough, type Readable, type Transform } from 'node:stream';
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { digestOfFile, type Entry } from '../cache-index/entry.ts';
import { NixcacheError } from '../errors.ts';
import { canDecompress } from '../nar/decompress.ts';
import { type Unpacked, verifyPacked } from '../nar/verify-packed.ts';
import type { NixHash } from '../nix/hash.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { Pieces } from '../streams/pieces.ts';
import { type Opened, openResumed } from '../streams/resumed-stream.ts';
import { verifyRange, verifyStream } from '../streams/verify.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OpenOptions } from './answer.ts';

interface NarFacts {
  /** Bytes; undefined where nobody said. */
  readonly size?: number | undefined;
  /** What the compressed NAR has to be. */
  readonly fileHash?: NixHash | undefined;
  /** Known digests of its pieces. */
  readonly pieces?: Pieces | undefined;
}

/** A NAR that the cache has. */
export interface CacheNar extends NarFacts {
  readonly entry: Entry;
}

/** A NAR that an upstream has, or at least should have. */
export interface UpstreamNar extends NarFacts {
  readonly upstream: Upstream;
  /** As the upstream's narinfo names it. */
  readonly url: string;
  /** As we name it. */
  readonly ours: string;
  /** Of the path whose narinfo named it; undefined where our own URL is all that is known. */
  readonly hashPart?: HashPart | undefined;
  readonly narHash?: NixHash | undefined;
  /** What it has to unpack to, where that is checked. */
  readonly unpacked?: Unpacked | undefined;
}

export type Nar = CacheNar | UpstreamNar;

/**
 * Opens a NAR, or a range of it: a whole one ends in an error, its last bytes withheld, unless it has its file hash. A range
 * is as long as it should be, and no more is known of it.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_NETWORK, ERR_UPSTREAM and others
 */
export type OpenNar = (nar: Nar, options: OpenOptions) => Promise<Readable>;

export const openNarFrom =
  (reader: Pick<CacheReader, 'openNar'>): OpenNar =>
  (nar, options) =>
    'entry' in nar ? reader.openNar(nar.entry, options) : openUpstreamNar(nar, options);

/** Resumed when it breaks off; a whole one is checked. */
async function openUpstreamNar(nar: UpstreamNar, { signal, range }: OpenOptions): Promise<Readable> {
  const { upstream, url, size } = nar;
  const what = `${upstream.name}/${url}`;
  const { offset, length } = range ?? { offset: 0, length: size };
  let etag: string | undefined;
  const openAt = async (position: number, stop: AbortSignal): Promise<Opened> => {
    const isAll = range === undefined && position === 0;
    const rest = length === undefined ? undefined : length - position;
    const part = { offset: offset + position, ...(range === undefined ? {} : { length: rest }) };
    const file = await upstream.openFile(url, { signal: stop, ...(isAll ? {} : { range: part }) });
    if (file === undefined) throw new NixcacheError('ERR_NOT_FOUND', `${what} is not there, although it should be`);
    if (size !== undefined && file.size !== undefined && file.size !== size) {
      file.body.destroy();
      throw new NixcacheError('ERR_DIGEST_MISMATCH', `${what} has ${file.size} bytes, not ${size} as announced`);
    }
    if (etag !== undefined && file.etag !== undefined && file.etag !== etag) {
      file.body.destroy();
      throw new NixcacheError('ERR_UPSTREAM', `${what} has changed while it was read`);
    }
    etag ??= file.etag;
    return file;
  };
  const source = await openResumed(
    {
      open: openAt,
      size: () => length,
      endedAt: (position) => new NixcacheError('ERR_UPSTREAM', `${what} ended after ${position} of ${length} bytes`),
      signal,
    },
    checkOf(nar, range, what),
  );
  return range === undefined ? await unpacking(source, nar, what) : source;
}

/** Of a range nothing vouches for more than its length. */
function checkOf({ size, fileHash }: UpstreamNar, range: OpenOptions['range'], what: string): Transform {
  if (range !== undefined) return verifyRange(range.length, what);
  if (fileHash !== undefined) return verifyStream({ digest: digestOfFile(fileHash), size }, what);
  return size === undefined ? new PassThrough() : verifyRange(size, what);
}

/** `source`, checked by what it unpacks to as well. @throws {NixcacheError} ERR_UPSTREAM when nothing can be checked */
async function unpacking(source: Readable, { fileHash, unpacked }: UpstreamNar, what: string): Promise<Readable> {
  if (unpacked !== undefined && (await canDecompress(unpacked.compression))) return verifyPacked(source, unpacked, what);
  if (fileHash !== undefined) return source;
  source.destroy();
  throw new NixcacheError('ERR_UPSTREAM', `${what} has no file hash, and cannot be unpacked here to check it`);
}
