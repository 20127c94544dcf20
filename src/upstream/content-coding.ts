/** Content-Encoding, which some caches store their files with and some servers add on the way. */
import { pipeline, Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createUnzip, createZstdDecompress } from 'node:zlib';
import { NixcacheError } from '../errors.ts';

/** What Nix itself stores with `?narinfo-compression=` and the like, and can still read. */
const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: createUnzip,
  'x-gzip': createUnzip,
  deflate: createUnzip,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
};

/** One by the cache, one on the way, and one more; a header has room for thousands, each of which is a decoder. */
const MAX_CODINGS = 3;

/** The codings that a Content-Encoding header names, in the order in which they were applied; none for a plain body. */
export const codingsOf = (header: string | undefined): readonly string[] =>
  (header ?? '')
    .toLowerCase()
    .split(',')
    .map((coding) => coding.trim())
    .filter((coding) => coding !== '' && coding !== 'identity');

/**
 * `body`, of `what`, as it was before `codings` were applied. It ends in an error where that cannot be undone. Destroying it
 * closes `body`.
 *
 * @throws {NixcacheError} ERR_UPSTREAM for a coding that is not known; `body` is closed then
 */
export function decodeBody(body: Readable, codings: readonly string[], what: string): Readable {
  if (codings.length > MAX_CODINGS) {
    body.destroy();
    throw new NixcacheError('ERR_UPSTREAM', `${what} is sent with ${codings.length} codings over one another`);
  }
  let decoded = body;
  for (const coding of codings.toReversed()) {
    const make = Object.hasOwn(DECODERS, coding) ? DECODERS[coding] : undefined;
    if (make === undefined) {
      decoded.destroy();
      throw new NixcacheError('ERR_UPSTREAM', `${what} is sent with the unknown Content-Encoding '${coding}'`);
    }
    decoded = through(decoded, make(), `${what} cannot be decoded as ${coding}`);
  }
  return decoded;
}

function through(source: Readable, decoder: Transform, what: string): Readable {
  let failure: Error | undefined;
  source.on('error', (error) => {
    failure = error;
  });
  // The callback is where a pipeline reports; the same error ends the decoder, which is read here.
  pipeline(source, decoder, () => undefined);
  const decoded = Readable.from(
    (async function* read(): AsyncGenerator<Buffer> {
      try {
        yield* decoder;
      } catch (cause) {
        // What broke the source is what went wrong, and not that the decoder then lacks an end.
        throw failure ?? new NixcacheError('ERR_UPSTREAM', what, { cause });
      }
    })(),
    { objectMode: false },
  );
  decoded.once('close', () => decoder.destroy());
  return decoded;
}
