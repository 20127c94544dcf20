/**
 * A kept NAR as a file: its bytes, then what is known of them, then how long that is and a digest of it. So one rename makes
 * all of it appear, and what a loss of power left of a file says of itself that it is not whole.
 */
import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';
import type { NixHash } from '../../../nix/hash.ts';
import { PIECE_BYTES } from '../../../streams/pieces.ts';
import type { KeptFacts } from '../../object-cache.ts';

const MAGIC = Buffer.from('nixobj-1');
/** Magic, two lengths of four bytes, SHA-256. */
const END_BYTES = 8 + 4 + 4 + 32;
const PIECE_DIGEST_BYTES = 16;
/** A NAR hash and the id of an upstream in JSON are some 120 bytes. */
const MAX_TEXT_BYTES = 1024;
/** Enough for the digests of 3 GiB. */
const READ_BYTES = 48 * 1024;

/** At most so many bytes follow the `size` bytes of a NAR. */
export const tailBytes = (size: number): number =>
  Math.ceil(size / PIECE_BYTES) * PIECE_DIGEST_BYTES + MAX_TEXT_BYTES + END_BYTES;

/** What follows the bytes of the object with this name. */
export function formatTail(name: string, { pieces, narHash, source }: KeptFacts): Buffer {
  const text = Buffer.from(JSON.stringify({ pieceBytes: pieces.pieceBytes, narHash, source }));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32LE(pieces.digests.length, 0);
  lengths.writeUInt32LE(text.length, 4);
  const body = Buffer.concat([pieces.digests, text, lengths]);
  return Buffer.concat([body, digestOf(name, pieces.size, body), MAGIC]);
}

/** Reads it from a file of `fileSize` bytes; undefined when the file is not such an object, whole. @throws what the disk says */
export function readTail(name: string, fd: number, fileSize: number): KeptFacts | undefined {
  const end = read(fd, Math.min(fileSize, READ_BYTES), fileSize);
  const lengthsAt = end.length - END_BYTES;
  if (lengthsAt < 0 || !end.subarray(-MAGIC.length).equals(MAGIC)) return undefined;
  const [digestBytes, textBytes] = [end.readUInt32LE(lengthsAt), end.readUInt32LE(lengthsAt + 4)];
  const tail = digestBytes + textBytes + END_BYTES;
  const size = fileSize - tail;
  if (size < 0 || textBytes > MAX_TEXT_BYTES) return undefined;
  const all = tail <= end.length ? end.subarray(end.length - tail) : read(fd, tail, fileSize);
  const body = all.subarray(0, digestBytes + textBytes + 8);
  if (!digestOf(name, size, body).equals(all.subarray(body.length, body.length + 32))) return undefined;
  // What has the right digest was written by us.
  const text = all.subarray(digestBytes, digestBytes + textBytes).toString();
  const { pieceBytes, narHash, source } = JSON.parse(text) as {
    readonly pieceBytes: number;
    readonly narHash?: NixHash;
    readonly source: string;
  };
  const digests = new Uint8Array(all.subarray(0, digestBytes)); // a copy, which does not hold the rest
  return { pieces: { size, pieceBytes, digests }, narHash, source };
}

function digestOf(name: string, size: number, body: Uint8Array): Buffer {
  return createHash('sha256').update(`${name} ${size}\n`).update(body).digest();
}

/** The last `length` bytes. */
function read(fd: number, length: number, fileSize: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, fileSize - length));
}
