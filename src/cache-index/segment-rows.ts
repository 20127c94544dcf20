/** The columns of one segment: made from its entries text once, kept beside it on disk, loaded without parsing. */
import { crc32 } from 'node:zlib';
import { NixcacheError } from '../errors.ts';
import { hashToBytes, parseHash } from '../nix/hash.ts';
import { decode, encode } from '../nix/nixbase32.ts';
import { HASH_PART_LENGTH, type HashPart } from '../nix/store-path.ts';
import { digestOf, hexOf } from '../oci/digest.ts';
import { entryRanges, MAX_ENTRIES } from './entries-blob.ts';
import { realisationsOf } from './entry.ts';
import { FILE_KEY_BYTES, type RealisationRows, type SegmentRows, STORE_HASH_BYTES } from './entry-table.ts';

const STORE_PATH = Buffer.from('StorePath: ');
const FILE_HASH = Buffer.from('\nFileHash: ');
const NEWLINE = 0x0a;
const SLASH = 0x2f;

export interface ScanOptions {
  readonly onDamaged?: (text: string, offset: number, error: NixcacheError) => void;
  /** Default: those of a segment. */
  readonly maxEntries?: number;
}

/**
 * Scans an entries text. An entry that cannot be keyed goes to `onDamaged`, and is left out.
 *
 * @throws {NixcacheError} ERR_INDEX naming its byte offset, when there is no `onDamaged`; and when there are more than
 *   `maxEntries`
 */
export function scanEntries(
  text: Buffer,
  what: string,
  { onDamaged, maxEntries = MAX_ENTRIES }: ScanOptions = {},
): SegmentRows {
  const ranges: { readonly offset: number; readonly length: number }[] = [];
  for (const range of entryRanges(text)) {
    if (ranges.length === maxEntries)
      throw new NixcacheError('ERR_INDEX', `${what} has more than ${maxEntries} entries`);
    ranges.push(range);
  }
  const rows = emptyRows(ranges.length);
  const keyed: number[] = [];
  ranges.forEach(({ offset, length }, row) => {
    const entry = text.subarray(offset, offset + length);
    try {
      rows.storeHashes.set(storeHash(entry), row * STORE_HASH_BYTES);
      rows.fileKeys.set(fileHash(entry).subarray(0, FILE_KEY_BYTES), row * FILE_KEY_BYTES);
      keyed.push(row);
    } catch (cause) {
      const error = new NixcacheError('ERR_INDEX', `${what} is damaged: no entry at byte ${offset}`, { cause });
      if (!onDamaged) throw error;
      onDamaged(entry.toString('utf8'), offset, error);
    }
    rows.offsets[row] = offset;
    rows.lengths[row] = length;
  });
  const realisations = scanRealisations(text, rows.offsets);
  return pickRows(realisations ? { ...rows, realisations } : rows, keyed);
}

/** By which the realisation `id` is found, 20 bytes. */
export const realisationKey = (id: string): Uint8Array =>
  Buffer.from(hexOf(digestOf(Buffer.from(id))), 'hex').subarray(0, REALISATION_KEY_BYTES);

function scanRealisations(text: Buffer, offsets: Uint32Array): RealisationRows | undefined {
  const keys: Uint8Array[] = [];
  const rows: number[] = [];
  let row = 0;
  for (const { id, offset } of realisationsOf(text)) {
    while (row + 1 < offsets.length && (offsets[row + 1] ?? 0) <= offset) row++;
    keys.push(realisationKey(id));
    rows.push(row);
  }
  return rows.length === 0 ? undefined : { keys: new Uint8Array(Buffer.concat(keys)), rows: Uint32Array.from(rows) };
}

/** The rows of these numbers, in that order; the very same when they are all. */
export function pickRows(rows: SegmentRows, numbers: readonly number[]): SegmentRows {
  if (numbers.length === rows.count) return rows;
  const picked = emptyRows(numbers.length);
  const copy = (from: Uint8Array, to: Uint8Array, bytes: number): void =>
    numbers.forEach((row, at) => {
      to.set(from.subarray(row * bytes, (row + 1) * bytes), at * bytes);
    });
  copy(rows.storeHashes, picked.storeHashes, STORE_HASH_BYTES);
  copy(rows.fileKeys, picked.fileKeys, FILE_KEY_BYTES);
  picked.offsets.set(numbers.map((row) => rows.offsets[row] ?? 0));
  picked.lengths.set(numbers.map((row) => rows.lengths[row] ?? 0));
  return rows.realisations ? { ...picked, realisations: pickRealisations(rows.realisations, numbers) } : picked;
}

function pickRealisations({ keys, rows }: RealisationRows, numbers: readonly number[]): RealisationRows | undefined {
  const newNumbers = new Map(numbers.map((row, at) => [row, at]));
  const kept = [...rows.keys()].filter((i) => newNumbers.has(rows[i] ?? 0));
  if (kept.length === 0) return undefined;
  return {
    keys: new Uint8Array(
      Buffer.concat(kept.map((i) => keys.subarray(i * REALISATION_KEY_BYTES, (i + 1) * REALISATION_KEY_BYTES))),
    ),
    rows: Uint32Array.from(kept, (i) => newNumbers.get(rows[i] ?? 0) ?? 0),
  };
}

function emptyRows(count: number): SegmentRows {
  return {
    count,
    storeHashes: new Uint8Array(count * STORE_HASH_BYTES),
    fileKeys: new Uint8Array(count * FILE_KEY_BYTES),
    offsets: new Uint32Array(count),
    lengths: new Uint32Array(count),
  };
}

export const NO_ROWS = emptyRows(0);

/** The hash part of each row, in order, without parsing. */
export function* hashPartsIn({ count, storeHashes }: SegmentRows): Generator<HashPart> {
  for (let row = 0; row < count; row++) {
    yield encode(storeHashes.subarray(row * STORE_HASH_BYTES, (row + 1) * STORE_HASH_BYTES)) as HashPart;
  }
}

function storeHash(entry: Buffer): Uint8Array {
  const end = entry.indexOf(NEWLINE);
  if (!entry.subarray(0, STORE_PATH.length).equals(STORE_PATH)) throw new NixcacheError('ERR_FORMAT', 'no StorePath');
  const start = entry.lastIndexOf(SLASH, end) + 1;
  return decode(entry.toString('latin1', start, start + HASH_PART_LENGTH));
}

function fileHash(entry: Buffer): Uint8Array {
  const at = entry.indexOf(FILE_HASH);
  if (at < 0) throw new NixcacheError('ERR_FORMAT', 'no FileHash');
  const start = at + FILE_HASH.length;
  return hashToBytes(parseHash(entry.toString('latin1', start, entry.indexOf(NEWLINE, start))));
}

/**
/**
 * `NCR4`, the count, the size of the text the rows belong to, the count of realisations, the SHA-256 of that text and of the
 * columns, then the columns, among them the CRC-32 of each entry, and those of realisations last; little-endian.
 */
const MAGIC = 0x3452434e;
const TEXT_SIZE_AT = 8;
const REALISATIONS_AT = 12;
const TEXT_HASH_AT = 16;
const COLUMNS_HASH_AT = 48;
const HEADER_BYTES = 80;
const ROW_BYTES = STORE_HASH_BYTES + FILE_KEY_BYTES + 12;
const REALISATION_KEY_BYTES = 20;
const REALISATION_ROW_BYTES = REALISATION_KEY_BYTES + 4;

/** Rows that were kept beside their text. */
export interface KeptRows {
  readonly rows: SegmentRows;
  /** CRC-32 of each entry. */
  readonly checksums: Uint32Array;
}

export function encodeRows(rows: SegmentRows, text: Buffer): Buffer {
  const { realisations } = rows;
  const checksums = Uint32Array.from(rows.offsets, (offset, row) =>
    crc32(text.subarray(offset, offset + (rows.lengths[row] ?? 0))),
  );
  const columns = Buffer.concat([
    ...[rows.offsets, rows.lengths, checksums].map(bytesOf),
    ...[rows.storeHashes, rows.fileKeys],
    ...(realisations ? [bytesOf(realisations.rows), realisations.keys] : []),
  ]);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt32LE(rows.count, 4);
  header.writeUInt32LE(text.length, TEXT_SIZE_AT);
  header.writeUInt32LE(realisations?.rows.length ?? 0, REALISATIONS_AT);
  header.write(hexOf(digestOf(text)), TEXT_HASH_AT, 'hex');
  header.write(hexOf(digestOf(columns)), COLUMNS_HASH_AT, 'hex');
  return Buffer.concat([header, columns]);
}

/** The rows in `bytes`, or undefined unless they are as they were written and belong to a text of `textBytes` bytes. */
export function decodeRows(bytes: Buffer, textBytes: number): KeptRows | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) return undefined;
  const count = bytes.readUInt32LE(4);
  const realised = bytes.readUInt32LE(REALISATIONS_AT);
  const size = HEADER_BYTES + count * ROW_BYTES + realised * REALISATION_ROW_BYTES;
  if (bytes.length !== size || bytes.readUInt32LE(TEXT_SIZE_AT) !== textBytes) return undefined;
  const columns = new Uint8Array(bytes.subarray(HEADER_BYTES)); // a copy, so that 32-bit columns are aligned
  if (bytes.toString('hex', COLUMNS_HASH_AT, HEADER_BYTES) !== hexOf(digestOf(columns))) return undefined;
  const integers = (column: number): Uint32Array => new Uint32Array(columns.buffer, column * count * 4, count);
  const hashesAt = count * 12;
  const rows: SegmentRows = {
    count,
    ...{ offsets: integers(0), lengths: integers(1) },
    storeHashes: columns.subarray(hashesAt, hashesAt + count * STORE_HASH_BYTES),
    fileKeys: columns.subarray(hashesAt + count * STORE_HASH_BYTES, count * ROW_BYTES),
    ...(realised > 0 && {
      realisations: {
        rows: new Uint32Array(columns.buffer, count * ROW_BYTES, realised),
        keys: columns.subarray(count * ROW_BYTES + realised * 4),
      },
    }),
  };
  return { rows, checksums: integers(2) };
}

/** Whether the text that rows belong to is as it was when they were written, to the last bit. */
export const isIntact = (bytes: Buffer, text: Buffer): boolean =>
  bytes.toString('hex', TEXT_HASH_AT, COLUMNS_HASH_AT) === hexOf(digestOf(text));

/** Whether `entry`, read at `offset`, is the text that the rows were made from. */
export function isEntry({ rows, checksums }: KeptRows, offset: number, entry: string): boolean {
  let [low, high] = [0, rows.count - 1]; // offsets grow
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((rows.offsets[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return rows.offsets[low] === offset && checksums[low] === crc32(entry);
}

const bytesOf = (array: Uint32Array): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
