/** Checks a compressed NAR by what it unpacks to: for where nothing says what the compressed bytes have to be. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { hashFromBytes, type NixHash } from '../nix/hash.ts';
import { decompress } from './decompress.ts';

/** What a compressed NAR has to hold. */
export interface Unpacked {
  readonly compression: string;
  readonly narHash: NixHash;
  readonly narSize: number;
}

/** 1 MiB, for headers: no compression makes more than half as much again of what it cannot compress. */
const SLACK_BYTES = 1024 * 1024;

/** No file that holds a NAR of `narSize` bytes, and nothing else, is longer. */
export const maxPackedBytes = (narSize: number): number => 2 * narSize + SLACK_BYTES;

/** Compressed bytes that wait for the decoder. */
const FEED_BYTES = 256 * 1024;

/**
 * Passes the bytes of `source`, of `what`, on, its last chunk only once all of them unpack to what `unpacked` says. Ends in
 * ERR_DIGEST_MISMATCH otherwise. Ending or destroying it closes `source`.
 */
export function verifyPacked(source: Readable, unpacked: Unpacked, what: string): Readable {
  const feed = new PassThrough({ highWaterMark: FEED_BYTES });
  feed.on('error', () => undefined); // the decoder needs no more, or fails and says so itself
  let isUnpacked = false;
  const checked = checkUnpacked(feed, unpacked, what).finally(() => {
    isUnpacked = true;
  });
  let failure: unknown;
  checked.catch((error: unknown) => {
    failure = error;
  });
  async function* pass(): AsyncGenerator<Buffer, void, undefined> {
    let held: Buffer | undefined;
    for await (const chunk of source as AsyncIterable<Buffer>) {
      if (failure !== undefined) throw failure; // of what has no end there would be none to wait for
      if (!isUnpacked && !feed.write(chunk)) {
        // A decoder that fails closes the feed first, and says why only then.
        await Promise.race([once(feed, 'drain').catch(() => checked), checked]);
      }
      if (held !== undefined) yield held;
      held = chunk;
    }
    feed.end();
    await checked;
    if (held !== undefined) yield held;
  }
  const stream: Readable = Readable.from(pass(), { objectMode: false });
  // The generator cannot do it: nobody may ever have asked it for anything.
  return stream.once('close', () => {
    source.destroy();
    feed.destroy();
  });
}

async function checkUnpacked(feed: Readable, { compression, narHash, narSize }: Unpacked, what: string): Promise<void> {
  const hash = createHash('sha256');
  let size = 0;
  try {
    for await (const chunk of decompress(feed, compression, narSize)) {
      hash.update(chunk);
      size += chunk.length;
    }
  } catch (cause) {
    if (!isNixcacheError(cause, 'ERR_FORMAT')) throw cause;
    throw mismatch(`${what} cannot be unpacked: ${messageOf(cause)}`, cause);
  }
  const found = hashFromBytes(hash.digest());
  if (size !== narSize) throw mismatch(`${what} unpacks to ${size} bytes, not ${narSize}`);
  if (found !== narHash) throw mismatch(`${what} unpacks to a NAR with the hash ${found}, not ${narHash}`);
}

const mismatch = (message: string, cause?: unknown): NixcacheError =>
  new NixcacheError('ERR_DIGEST_MISMATCH', message, { cause });
