/** The same NAR in another form than the one in which it is had. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { NixcacheError } from '../errors.ts';
import { compress } from '../nar/compress.ts';
import { decompress } from '../nar/decompress.ts';
import { hashFromBytes } from '../nix/hash.ts';
import type { Repacking } from './open-nar.ts';

/**
 * What was announced, made of `source`. It ends in an error, so that nobody takes it for whole, unless it holds the right NAR.
 * Ending or destroying it closes `source`.
 */
export function repack(source: Readable | Buffer, repacking: Repacking, what: string): Readable {
  const { from, to } = repacking;
  const readable = Buffer.isBuffer(source) ? Readable.from([source], { objectMode: false }) : source;
  const nar = checked(decompress(readable, from, repacking.narSize), repacking, what);
  const stream: Readable = Readable.from(compress(nar, to), { objectMode: false });
  // The generator cannot do it: nobody may ever have asked it for anything.
  return stream.once('close', () => readable.destroy());
}

/** `nar`, its last chunk only once all of it has the right hash. */
async function* checked(
  nar: AsyncIterable<Uint8Array>,
  { narHash, narSize }: Repacking,
  what: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  let size = 0;
  let held: Uint8Array | undefined;
  for await (const chunk of nar) {
    if (held !== undefined) yield held;
    hash.update(chunk);
    size += chunk.length;
    held = chunk;
  }
  if (size !== narSize || hashFromBytes(hash.digest()) !== narHash) {
    throw new NixcacheError('ERR_DIGEST_MISMATCH', `${what} does not unpack to the NAR ${narHash} of ${narSize} bytes`);
  }
  if (held !== undefined) yield held;
}
