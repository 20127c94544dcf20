/** Opens NARs, wherever their bytes are. Whatever keeps, shares or takes bytes on their way wraps an `OpenNar`. */
import type { Readable } from 'node:stream';
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { digestOfFile, type Entry } from '../cache-index/entry.ts';
import { NixcacheError } from '../errors.ts';
import type { NixHash } from '../nix/hash.ts';
import { ResumedStream } from '../streams/resumed-stream.ts';
import { readThrough, verifyStream } from '../streams/verify.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OpenOptions } from './answer.ts';

interface Nar {
  /** Bytes; undefined where nobody said. */
  readonly size?: number | undefined;
  readonly fileHash?: NixHash | undefined;
}

/** A NAR that the cache has. */
export interface CacheNar extends Nar {
  readonly entry: Entry;
}

/** A NAR that an upstream has, or at least should have. */
export interface UpstreamNar extends Nar {
  readonly upstream: Upstream;
  /** As the upstream's narinfo names it. */
  readonly url: string;
}

/**
 * Opens a NAR, or a range of it. A whole one ends in an error, its last bytes withheld, unless it has its file hash.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_NETWORK, ERR_UPSTREAM and others
 */
export type OpenNar = (nar: CacheNar | UpstreamNar, options: OpenOptions) => Promise<Readable>;

export const openNarFrom =
  (reader: Pick<CacheReader, 'openNar'>): OpenNar =>
  (nar, options) =>
    'entry' in nar ? reader.openNar(nar.entry, options) : openUpstreamNar(nar, options);

/** Resumed when it breaks off, and checked where its narinfo gave a file hash. */
async function openUpstreamNar(nar: UpstreamNar, { signal, range }: OpenOptions): Promise<Readable> {
  const { upstream, url, size, fileHash } = nar;
  const what = `${upstream.name}/${url}`;
  const { offset, length } = range ?? { offset: 0, length: size };
  let etag: string | undefined;
  const openAt = async (position: number): Promise<Readable> => {
    const isAll = range === undefined && position === 0;
    const rest = length === undefined ? undefined : length - position;
    const part = { offset: offset + position, ...(range === undefined ? {} : { length: rest }) };
    const file = await upstream.openFile(url, { signal, ...(isAll ? {} : { range: part }) });
    if (file === undefined) throw new NixcacheError('ERR_NOT_FOUND', `${what} is not there, although it should be`);
    if (size !== undefined && file.size !== undefined && file.size !== size) {
      file.body.destroy();
      throw new NixcacheError('ERR_UPSTREAM', `${what} has ${file.size} bytes, not ${size} as announced`);
    }
    if (etag !== undefined && file.etag !== undefined && file.etag !== etag) {
      file.body.destroy();
      throw new NixcacheError('ERR_UPSTREAM', `${what} has changed while it was read`);
    }
    etag ??= file.etag;
    return file.body;
  };
  const stream = new ResumedStream(await openAt(0), { size: length, reopen: openAt, what, signal });
  if (fileHash === undefined || range !== undefined || !fileHash.startsWith('sha256:')) return stream;
  return readThrough(stream, verifyStream({ digest: digestOfFile(fileHash), size }), { signal });
}
