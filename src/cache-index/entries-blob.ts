/**
 * The entries blob of a segment: entry texts sorted by hash part, a blank line between them, one zstd frame.
 * `zstd -d` on it shows readable narinfos.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { messageOf, NixcacheError } from '../errors.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { type Entry, formatEntry } from './entry.ts';

/** 16 MiB: of an entry some 300 bytes do not compress, its hashes and signatures. */
export const MAX_ENTRIES_BLOB_BYTES = 16 * 1024 * 1024;
/** 128 MiB: 1000 entries of 2000 references each. Twice that is in memory at once, and workerd's zlib allows no more. */
const MAX_ENTRIES_TEXT_BYTES = 128 * 1024 * 1024;
/** Ten times what writers put into one segment. */
export const MAX_ENTRIES = 10_000;
/** 4 MiB of digests, which do not compress, are of 256 GiB of NARs: what is beyond is checked as a whole. */
const MAX_PIECES_BYTES = 4 * 1024 * 1024;
/** Written once, read by everyone: 9 costs some 10 ms for 1 000 entries. */
const LEVEL = 9;

/** The text of an entries blob before compression. */
export function formatEntries(entries: readonly Entry[]): string {
  const keyed = entries.map((entry) => [hashPartOf(entry.narInfo.path), entry] as const);
  keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return keyed.map(([, entry]) => formatEntry(entry)).join('\n');
}

/** `entries`, without the digests of pieces of the largest NARs where those of all are more than there is room for. */
function withFewPieces(entries: readonly Entry[]): readonly Entry[] {
  const lengthOf = ({ pieces }: Entry): number => pieces?.digests.length ?? 0;
  const isTooLarge = new Set<Entry>();
  let bytes = 0;
  for (const entry of entries.toSorted((a, b) => lengthOf(a) - lengthOf(b))) {
    bytes += lengthOf(entry);
    if (bytes > MAX_PIECES_BYTES) isTooLarge.add(entry);
  }
  if (isTooLarge.size === 0) return entries;
  return entries.map((entry) => (isTooLarge.has(entry) ? { ...entry, pieces: undefined } : entry));
}

/** @throws {NixcacheError} ERR_UNSUPPORTED for more than readers take */
export function encodeEntries(entries: readonly Entry[]): Buffer {
  const text = Buffer.from(formatEntries(withFewPieces(entries)));
  const blob = zstdCompressSync(text, { params: { [constants.ZSTD_c_compressionLevel]: LEVEL } });
  if (text.length > MAX_ENTRIES_TEXT_BYTES || blob.length > MAX_ENTRIES_BLOB_BYTES || entries.length > MAX_ENTRIES) {
    const what = `${entries.length} entries of ${text.length} bytes`;
    throw new NixcacheError('ERR_UNSUPPORTED', `write a segment: ${what} are more than readers take`);
  }
  return blob;
}

/** @throws {NixcacheError} ERR_INDEX, also when there is more than any segment may hold */
export function decodeEntries(blob: Uint8Array, what: string): Buffer {
  try {
    return zstdDecompressSync(blob, { maxOutputLength: MAX_ENTRIES_TEXT_BYTES });
  } catch (cause) {
    throw new NixcacheError('ERR_INDEX', `${what} does not unpack: ${messageOf(cause)}`, { cause });
  }
}

/** Byte ranges of the single entries in an entries text, in order. */
export function* entryRanges(text: Buffer): Generator<{ readonly offset: number; readonly length: number }> {
  for (let offset = 0; offset < text.length; ) {
    const blank = text.indexOf('\n\n', offset);
    const end = blank < 0 ? text.length : blank + 1;
    yield { offset, length: end - offset };
    offset = end + 1;
  }
}
