/**
 * Which segments hold a store path, and when it was last asserted, at 10 bytes an entry instead of the entries' several
 * hundred: a checkpoint carries one of all segments live when it was written, so that a publisher who comes without an
 * index fetches only the entries that it has to see.
 *
 *     "NCK1", length of the header; the header, JSON, padded with spaces to a multiple of 4
 *     columns over all entries, segment after segment, little-endian: bits 128–159 of the store hash, bits 96–127 of
 *     it (32 bits each), then the day it was asserted (16 bits, Unix time)
 *
 * 64 bits of a hash do not prove that a path is there: at a million entries one look-up in 10¹³ is told so wrongly, and
 * what is not published for it is a miss for readers. Within a segment entries are in order of their hash parts, which
 * is the order of these numbers.
 */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../bounded-json.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { decode } from '../nix/nixbase32.ts';
import type { HashPart } from '../nix/store-path.ts';

export interface LookupSegment {
  readonly tag: string;
  readonly count: number;
  /** Names of keys of which every entry bears a signature; verified by nobody. */
  readonly signers?: readonly string[] | undefined;
  /** So many, by hash part; read once. */
  readonly entries: Iterable<LookupEntry>;
}

export interface LookupEntry {
  readonly hashPart: HashPart;
  /** Unix seconds. */
  readonly asserted: number;
}

export interface LookupHit {
  readonly tag: string;
  /** Unix seconds at the start of the day: not later than the entry says. */
  readonly asserted: number;
}

const headerSchema = z.object({
  storeDir: z.string(),
  segments: z.array(
    z.object({
      tag: z.string(),
      count: z.number().check(z.int(), z.nonnegative()),
      signers: z.optional(z.array(z.string())),
    }),
  ),
});

/** 256 MiB: some 25 million entries. */
export const MAX_LOOKUP_BYTES = 256 * 1024 * 1024;
const MAGIC = 0x314b434e;
const PREFIX_BYTES = 8;
const ENTRY_BYTES = 10;
const DAY_SECONDS = 86_400;
const MAX_DAY = 0xffff;

export function encodeLookup(storeDir: string, segments: readonly LookupSegment[]): Buffer {
  const counts = segments.map(({ tag, count, signers }) => ({ tag, count, signers }));
  let header = JSON.stringify({ storeDir, segments: counts });
  header = header.padEnd(Math.ceil(Buffer.byteLength(header) / 4) * 4);
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  const bytes = Buffer.alloc(PREFIX_BYTES + header.length + total * ENTRY_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(header.length, 4);
  bytes.write(header, PREFIX_BYTES);
  const high = PREFIX_BYTES + header.length;
  let at = 0;
  for (const { entries } of segments) {
    for (const { hashPart, asserted } of entries) {
      const key = keyOf(hashPart);
      bytes.writeUInt32LE(key.high, high + at * 4);
      bytes.writeUInt32LE(key.low, high + (total + at) * 4);
      bytes.writeUInt16LE(
        Math.min(MAX_DAY, Math.max(0, Math.floor(asserted / DAY_SECONDS))),
        high + total * 8 + at * 2,
      );
      at++;
    }
  }
  return bytes;
}

export class LookupTable {
  readonly storeDir: string;
  /** Tag and number of entries of each segment in it. */
  readonly segments: ReadonlyMap<string, number>;
  /** By tag, names of keys of which every entry bears a signature. */
  readonly signers: ReadonlyMap<string, readonly string[]>;
  readonly #tags: readonly string[];
  /** First entry of each segment, and the end of the last. */
  readonly #starts: Uint32Array;
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  readonly #days: Uint16Array;

  private constructor(header: z.infer<typeof headerSchema>, columns: ArrayBuffer) {
    this.storeDir = header.storeDir;
    this.segments = new Map(header.segments.map(({ tag, count }) => [tag, count]));
    this.signers = new Map(header.segments.map(({ tag, signers = [] }) => [tag, signers]));
    this.#tags = header.segments.map(({ tag }) => tag);
    this.#starts = new Uint32Array(header.segments.length + 1);
    let total = 0;
    for (const [i, { count }] of header.segments.entries()) {
      total += count;
      this.#starts[i + 1] = total;
    }
    this.#high = new Uint32Array(columns, 0, total);
    this.#low = new Uint32Array(columns, total * 4, total);
    this.#days = new Uint16Array(columns, total * 8, total);
  }

  /** @throws {NixcacheError} ERR_INDEX */
  static decode(bytes: Buffer, what: string): LookupTable {
    try {
      if (bytes.length < PREFIX_BYTES || bytes.readUInt32LE(0) !== MAGIC) throw new Error('it does not start like one');
      const end = PREFIX_BYTES + bytes.readUInt32LE(4);
      const header = headerSchema.parse(parseBoundedJson(bytes.toString('utf8', PREFIX_BYTES, end)));
      const total = header.segments.reduce((sum, { count }) => sum + count, 0);
      if (bytes.length !== end + total * ENTRY_BYTES) throw new Error(`its length is not that of ${total} entries`);
      const columns = new Uint8Array(total * ENTRY_BYTES); // a copy, so that 32-bit columns are aligned
      columns.set(bytes.subarray(end));
      return new LookupTable(header, columns.buffer);
    } catch (cause) {
      throw new NixcacheError('ERR_INDEX', `${what} is no look-up table: ${messageOf(cause)}`, { cause });
    }
  }

  /** The segments that hold `hashPart`, as far as its first 64 bits tell. */
  *find(hashPart: HashPart): Generator<LookupHit> {
    const { high, low } = keyOf(hashPart);
    for (const [segment, tag] of this.#tags.entries()) {
      const start = this.#starts[segment] ?? 0;
      const end = this.#starts[segment + 1] ?? 0;
      // Compaction divides by hash: nearly every segment ends here.
      if (start === end || high < (this.#high[start] ?? 0) || high > (this.#high[end - 1] ?? 0)) continue;
      for (let i = this.#lowerBound(high, start, end); i < end && this.#high[i] === high; i++) {
        if (this.#low[i] === low) yield { tag, asserted: (this.#days[i] ?? 0) * DAY_SECONDS };
      }
    }
  }

  /** The first from `start` on that is not below `high`. */
  #lowerBound(high: number, start: number, end: number): number {
    let from = start;
    let to = end;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if ((this.#high[middle] ?? 0) < high) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}

/** The text's first characters are the hash's last bytes: numbers compare as texts do. */
function keyOf(hashPart: HashPart): { readonly high: number; readonly low: number } {
  const hash = decode(hashPart);
  const view = new DataView(hash.buffer, hash.byteOffset, hash.length);
  return { high: view.getUint32(16, true), low: view.getUint32(12, true) };
}
