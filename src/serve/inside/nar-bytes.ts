/** The bytes of a NAR as it is unpacked, out of the answer that a client gets when it asks for it. */
import { Readable } from 'node:stream';
import { isNixcacheError, NixcacheError } from '../../errors.ts';
import { decompress } from '../../nar/decompress.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { type Answer, isFileBody, type OpenOptions } from '../answer.ts';

/** What is known of a NAR before it is opened. */
export type PackedNar = Pick<NarInfo, 'path' | 'url' | 'compression' | 'narHash' | 'narSize'>;

/** What a client gets who asks for the NAR at `path`. */
export type AnswerNar = (path: string, options: OpenOptions) => Promise<Answer>;

/** Where unpacking may begin: at which byte of the file, and of the NAR. */
export interface Entrance {
  readonly packed: number;
  readonly unpacked: number;
}

export interface OpenUnpackedOptions extends OpenOptions {
  /** The nearest before `range` that is known. */
  readonly entrance?: Entrance | undefined;
  /** Hears where others are, of a NAR in frames of zstd. */
  readonly onFrame?: ((packed: number, unpacked: number) => void) | undefined;
}

/** What was opened, from the byte `start` of the file on; undefined: from its beginning. */
interface Opened {
  readonly source: Readable;
  readonly start: number;
}

/**
 * `range` of what `nar` unpacks to, or all of it. Ending or destroying it closes all that is behind it.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND when it is not to be had; and others, here or at the end of the stream
 */
export async function openUnpacked(
  nar: PackedNar,
  range: ByteRange | undefined,
  answerNar: AnswerNar,
  { entrance, onFrame, ...options }: OpenUnpackedOptions,
): Promise<Readable> {
  const { compression, narSize, url } = nar;
  const isPlain = compression === 'none';
  const from = isPlain && range !== undefined ? { packed: range.offset, unpacked: range.offset } : entrance;
  const answer = await answerNar(`/${url}`, options);
  const { source, start } = await openAnswer(answer, from?.packed ?? 0, isPlain ? range?.length : undefined, options);
  const before = start === 0 ? 0 : (from?.unpacked ?? 0);
  const skip = range === undefined ? 0 : range.offset - before;
  const unpacked = decompress(source, compression, narSize - before, { skip, onFrame });
  const wanted = range === undefined ? unpacked : firstOf(unpacked, range.length);
  const stream: Readable = Readable.from(before === 0 ? wanted : inFrame(wanted, nar), { objectMode: false });
  // The generator cannot do it: nobody may ever have asked it for anything.
  return stream.once('close', () => source.destroy());
}

/** `length`: of how many bytes behind `start`; default all. Where parts would cost a whole, it begins at the beginning. */
async function openAnswer(
  answer: Answer,
  start: number,
  length: number | undefined,
  { signal }: OpenOptions,
): Promise<Opened> {
  for (let next: Answer | undefined = answer; ; ) {
    const { body } = next;
    if (next.status !== 200 || body === undefined) throw new NixcacheError('ERR_NOT_FOUND', 'its NAR is not to be had');
    if (!isFileBody(body)) return { source: Readable.from([Buffer.from(body)], { objectMode: false }), start: 0 };
    const { size, isPiecewise } = body;
    const isPart = isPiecewise && size !== undefined && start < size && (start > 0 || length !== undefined);
    const range = isPart ? { offset: start, length: Math.min(length ?? size, size - start) } : undefined;
    try {
      const opened = await body.open({ signal, range });
      const source = Buffer.isBuffer(opened) ? Readable.from([opened], { objectMode: false }) : opened;
      return { source, start: range?.offset ?? 0 };
    } catch (error) {
      signal.throwIfAborted();
      next = await next.otherwise?.(error);
      if (next === undefined) throw error;
    }
  }
}

/** What does not unpack from where it was entered is not the file in which that entrance was found. */
async function* inFrame(bytes: AsyncIterable<Uint8Array>, { path }: PackedNar): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (cause) {
    if (!isNixcacheError(cause, 'ERR_FORMAT')) throw cause;
    throw new NixcacheError('ERR_DIGEST_MISMATCH', `the NAR of ${path} is another file than before`, { cause });
  }
}

/** The first `length` bytes of `source`, which is closed then. */
async function* firstOf(
  source: AsyncIterable<Uint8Array>,
  length: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = length;
  for await (const chunk of source) {
    const part = chunk.subarray(0, left);
    left -= part.length;
    if (part.length > 0) yield part;
    if (left === 0) return;
  }
}
