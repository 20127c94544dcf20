/** The record of an upload in the journal: one file for each path, JSON, written anew when more is known of the path. */
import * as z from 'zod/mini';
import type { Entry } from '../../cache-index/entry.ts';
import { NixcacheError } from '../../errors.ts';
import { formatNarInfo, parseNarInfo } from '../../nix/nar-info.ts';
import { formatRealisations, parseRealisations, type Realisation } from '../../nix/realisation.ts';
import { isStoreDir } from '../../nix/store-path.ts';

export interface UploadRecord {
  readonly narInfo: Entry['narInfo'];
  /** The file in the spool that holds its NAR; undefined for what the cache has, and only gains signatures or realisations. */
  readonly nar: string | undefined;
  /** Compressed with zstd. */
  readonly listing: Uint8Array | undefined;
  readonly realisations: readonly Realisation[];
  readonly receivedAt: Date;
}

const VERSION = 1;

const schema = z.object({
  version: z.literal(VERSION),
  storeDir: z.string().check(z.refine(isStoreDir)),
  narInfo: z.string(),
  nar: z.optional(z.string()),
  listing: z.optional(z.string()),
  realisations: z.string(),
  receivedAt: z.number(),
});

export function encodeRecord(record: UploadRecord, storeDir: string): Buffer {
  const { narInfo, nar, listing, realisations, receivedAt } = record;
  return Buffer.from(
    JSON.stringify({
      version: VERSION,
      storeDir,
      narInfo: formatNarInfo(narInfo),
      ...(nar === undefined ? {} : { nar }),
      ...(listing === undefined ? {} : { listing: Buffer.from(listing).toString('base64') }),
      realisations: formatRealisations(realisations),
      receivedAt: receivedAt.getTime(),
    }),
  );
}

/** @throws {NixcacheError} ERR_FORMAT */
export function decodeRecord(bytes: Buffer, what: string): UploadRecord {
  try {
    const {
      storeDir,
      narInfo: text,
      nar,
      listing,
      realisations,
      receivedAt,
    } = schema.parse(JSON.parse(bytes.toString()));
    const { extra: _none, ...narInfo } = parseNarInfo(text, storeDir);
    const { fileHash, fileSize } = narInfo;
    const parsed = parseRealisations(realisations);
    if (fileHash === undefined || fileSize === undefined || parsed === undefined) throw new Error('it is not complete');
    return {
      narInfo: { ...narInfo, fileHash, fileSize },
      nar,
      listing: listing === undefined ? undefined : Buffer.from(listing, 'base64'),
      realisations: parsed,
      receivedAt: new Date(receivedAt),
    };
  } catch (cause) {
    throw new NixcacheError('ERR_FORMAT', `${what} is no record of an upload that this version understands`, { cause });
  }
}
