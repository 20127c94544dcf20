import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { type Descriptor, describe } from '../../src/oci/descriptor.ts';

export const OCTETS = 'application/octet-stream';

/** `length` bytes that follow from `seed` and do not compress. */
export function noise(length: number, seed: number | string): Buffer {
  const blocks: Buffer[] = [];
  for (let made = 0; made < length; made += 64) {
    blocks.push(createHash('sha512').update(`${seed} ${made}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, length);
}

export const describeBytes = (bytes: Uint8Array): Descriptor => describe(OCTETS, bytes);

/** Opens `bytes` as a stream of chunks of at most `chunkBytes`. */
export function opener(bytes: Uint8Array, chunkBytes = 64 * 1024): () => Readable {
  return () => Readable.from(chunksOf(bytes, chunkBytes), { objectMode: false });
}

export async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function* chunksOf(bytes: Uint8Array, chunkBytes: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** So many turns of the event loop: whatever in this process waits for nothing outside has had its turn, however slow the machine. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await setImmediate();
}
