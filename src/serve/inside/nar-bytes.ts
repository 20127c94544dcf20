/** The bytes of a NAR as it is unpacked, out of the answer that a client gets when it asks for it. */
import { Readable } from 'node:stream';
import { NixcacheError } from '../../errors.ts';
import { decompress } from '../../nar/decompress.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import type { OpenRange } from '../../streams/byte-range.ts';
import { type Answer, isFileBody, type OpenOptions } from '../answer.ts';

/** What is known of a NAR before it is opened. */
export type PackedNar = Pick<NarInfo, 'path' | 'url' | 'compression' | 'narHash' | 'narSize'>;

/** What a client gets who asks for the NAR at `path`. */
export type AnswerNar = (path: string, options: OpenOptions) => Promise<Answer>;

/**
 * `range` of what `nar` unpacks to, or all of it. Ending or destroying it closes all that is behind it.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND when it is not to be had; and others, here or at the end of the stream
 */
export async function openUnpacked(
  nar: PackedNar,
  range: OpenRange | undefined,
  answerNar: AnswerNar,
  options: OpenOptions,
): Promise<Readable> {
  const { compression, narSize, url } = nar;
  const isPlain = compression === 'none';
  const { offset, length = narSize - offset } = range ?? { offset: 0 };
  const isPart = isPlain && (offset > 0 || length < narSize);
  const answer = await answerNar(`/${url}`, options);
  const { source, start } = await openAnswer(answer, isPart ? { offset, length } : undefined, options.signal);
  const unpacked = isPlain ? source : decompress(source, compression, narSize);
  const wanted = range === undefined ? unpacked : cutOut(unpacked, offset - start, length);
  const stream: Readable = Readable.from(wanted, { objectMode: false });
  // The generator cannot do it: nobody may ever have asked it for anything.
  return stream.once('close', () => source.destroy());
}

/** `start`: which byte of the whole is the first that comes. */
async function openAnswer(
  answer: Answer,
  range: OpenOptions['range'],
  signal: AbortSignal,
): Promise<{ readonly source: Readable; readonly start: number }> {
  for (let next: Answer | undefined = answer; ; ) {
    const { body } = next;
    if (next.status !== 200 || body === undefined) throw new NixcacheError('ERR_NOT_FOUND', 'its NAR is not to be had');
    if (!isFileBody(body)) return { source: Readable.from([Buffer.from(body)], { objectMode: false }), start: 0 };
    // Of one whose size nobody knows there are no parts.
    const part = body.size === undefined ? undefined : range;
    try {
      const opened = await body.open({ signal, range: part });
      const source = Buffer.isBuffer(opened) ? Readable.from([opened], { objectMode: false }) : opened;
      return { source, start: part?.offset ?? 0 };
    } catch (error) {
      signal.throwIfAborted();
      next = await next.otherwise?.(error);
      if (next === undefined) throw error;
    }
  }
}

/** Of what `source` has, `length` bytes behind the first `skip`; it is closed then. */
async function* cutOut(
  source: AsyncIterable<Uint8Array>,
  skip: number,
  length: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let [before, left] = [skip, length];
  for await (const chunk of source) {
    const part = chunk.subarray(Math.min(before, chunk.length), before + left);
    before -= Math.min(before, chunk.length);
    left -= part.length;
    if (part.length > 0) yield part;
    if (left === 0) return;
  }
}
