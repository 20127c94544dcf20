/**
 * The entries blob of a segment: entry texts sorted by hash part, a blank line between them, one zstd frame.
 * `zstd -d` on it shows readable narinfos.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { messageOf, NixcacheError } from '../errors.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { type Entry, formatEntry } from './entry.ts';

/** 64 MiB: a segment has about 1 000 entries of at most some 10 KiB; more is an accident or an attack. */
export const MAX_ENTRIES_BLOB_BYTES = 64 * 1024 * 1024;
/** 512 MiB once unpacked, for the same reason; the zlib of workerd refuses any limit above its 128 MiB. */
const MAX_ENTRIES_TEXT_BYTES = (globalThis.navigator?.userAgent === 'Cloudflare-Workers' ? 128 : 512) * 1024 * 1024;
/** Written once, read by everyone: 9 costs some 10 ms for 1 000 entries. */
const LEVEL = 9;

/** The text of an entries blob before compression. */
export function formatEntries(entries: readonly Entry[]): string {
  const keyed = entries.map((entry) => [hashPartOf(entry.narInfo.path), entry] as const);
  keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return keyed.map(([, entry]) => formatEntry(entry)).join('\n');
}

export const encodeEntries = (entries: readonly Entry[]): Buffer =>
  zstdCompressSync(formatEntries(entries), { params: { [constants.ZSTD_c_compressionLevel]: LEVEL } });

/** @throws {NixcacheError} ERR_INDEX */
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
