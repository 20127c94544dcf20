/** A cache as its readers see it with all that was uploaded and is still on its way into it. */
import type { Readable } from 'node:stream';
import type { CacheReader } from '../../cache/read/cache-reader.ts';
import type { Awaitable } from '../../cache/read/index-store.ts';
import { digestOfFile, type Entry } from '../../cache-index/entry.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import { unpackNarListing } from '../../nar/nar-listing.ts';
import type { NixHash } from '../../nix/hash.ts';
import { type HashPart, hashPartOf, storeDirOf } from '../../nix/store-path.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { readThrough, verifyRange, verifyStream } from '../../streams/verify.ts';
import type { PendingPaths } from './pending-paths.ts';
import { decodeRecord } from './upload-record.ts';
import type { UploadSpool } from './upload-spool.ts';

export function withUploads(reader: CacheReader, pending: PendingPaths, spool: UploadSpool): CacheReader {
  const own = (hashPart: HashPart): boolean => pending.get(hashPart)?.nar !== undefined;
  const after = <T, R>(found: Awaitable<T>, then: (found: T) => R): Awaitable<R> =>
    found instanceof Promise ? found.then(then) : then(found);
  const findEntry = (hashPart: HashPart): Awaitable<Entry | undefined> => {
    if (pending.get(hashPart) === undefined) return reader.findEntry(hashPart);
    if (own(hashPart)) return pending.entryOf(hashPart, undefined);
    return after(reader.findEntry(hashPart), (held) => pending.entryOf(hashPart, held));
  };
  return {
    name: reader.name,
    get storeDir() {
      const [first] = reader.status().entries > 0 ? [] : pending.all();
      return first === undefined ? reader.storeDir : storeDirOf(first[1].narInfo.path);
    },
    findNarInfoText: (hashPart) => reader.findNarInfoText(hashPart),
    findEntry,
    findNarFile: (fileHash: NixHash) => pending.fileOf(fileHash) ?? reader.findNarFile(fileHash),
    findRealisation: (id) => pending.realisationOf(id) ?? reader.findRealisation?.(id),
    entriesOf: (hashPart) => reader.entriesOf?.(hashPart) ?? [],
    ...(reader.openContents && { openContents: reader.openContents.bind(reader) }),
    openNar: async (entry, options = {}) => {
      const nar = pending.narNameOf(entry.narInfo.fileHash);
      if (nar === undefined) return reader.openNar(entry, options);
      try {
        return await openSpooled(spool, nar, entry.narInfo, options);
      } catch (error) {
        // It was committed meanwhile, and is there from now on.
        if (!isNixcacheError(error, 'ERR_NOT_FOUND')) throw error;
        return reader.openNar(entry, options);
      }
    },
    fetchListing: async (entry, options) => {
      const hashPart = hashPartOf(entry.narInfo.path);
      if (!own(hashPart)) return reader.fetchListing(entry, options);
      const { listing } = decodeRecord(await spool.readRecord(hashPart), hashPart);
      return listing && unpackNarListing(listing);
    },
    fetchPublicKeys: (options) => reader.fetchPublicKeys(options),
    refresh: (options) => reader.refresh(options),
    // What was uploaded says nothing of whether the index is known.
    status: () => ({ ...reader.status(), uploaded: pending.added }),
    close: () => reader.close(),
  };
}

/** The NAR `name` of the spool: a whole one ends in an error unless it has its file hash. */
export async function openSpooled(
  spool: Pick<UploadSpool, 'openNar'>,
  name: string,
  { fileHash, fileSize }: { readonly fileHash: NixHash; readonly fileSize: number },
  { range, signal }: CallOptions & { readonly range?: ByteRange | undefined } = {},
): Promise<Readable> {
  const source = await spool.openNar(name, range);
  const what = `the uploaded nar/${name}`;
  const check =
    range === undefined
      ? verifyStream({ digest: digestOfFile(fileHash), size: fileSize }, what)
      : verifyRange(range.length, what);
  return readThrough(source, check, { signal });
}
