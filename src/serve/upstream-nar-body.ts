import type { Readable } from 'node:stream';
import { digestOfFile } from '../cache-index/entry.ts';
import { NixcacheError } from '../errors.ts';
import type { ByteRange } from '../streams/byte-range.ts';
import { ResumedStream } from '../streams/resumed-stream.ts';
import { readThrough, verifyStream } from '../streams/verify.ts';
import type { FileBody } from './answer.ts';
import type { UpstreamNar } from './upstream-nars.ts';

/** The bytes of an upstream's NAR: resumed when they break off, and checked where its narinfo gave a file hash. */
export const upstreamNarBody = (nar: UpstreamNar): FileBody => ({
  size: nar.size,
  open: ({ signal, range }) => openNar(nar, signal, range),
});

async function openNar(nar: UpstreamNar, signal: AbortSignal, range: ByteRange | undefined): Promise<Readable> {
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
