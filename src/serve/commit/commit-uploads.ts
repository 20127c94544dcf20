/** Brings what was uploaded into the cache, references first: the one writer, fed out of the spool. */
import type { IndexReader } from '../../cache/read/index-reader.ts';
import { findDueEntries } from '../../cache/write/asserted-entries.ts';
import { updateCacheIndex } from '../../cache/write/cache-index.ts';
import { CacheWriter, type CommittedSegment } from '../../cache/write/cache-writer.ts';
import { carried, type IncomingPath } from '../../cache/write/incoming.ts';
import { type KeepWholeOptions, keepWhole, restoreVanished } from '../../cache/write/keep-whole.ts';
import { partBytesFor } from '../../cache/write/limits.ts';
import { MAX_PACKED_BYTES } from '../../cache/write/pack.ts';
import { infosInOrder } from '../../cache/write/references-first.ts';
import type { Spool } from '../../cache/write/spool.ts';
import { abortReason, type CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import type { NarResult } from '../../nar/nar-job.ts';
import { mergeRealisations } from '../../nix/realisation.ts';
import { isSameSigned } from '../../nix/signature.ts';
import { baseNameOf, type HashPart, hashPartOf, storeDirOf } from '../../nix/store-path.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import { entryOf, type PendingPath } from '../upload/pending-paths.ts';
import type { UploadRecord } from '../upload/upload-record.ts';
import type { Uploads } from '../upload/uploads.ts';
import { lackingOf } from './lacking.ts';
import { letGoOfPublished } from './published-meanwhile.ts';

export interface CommitUploadsOptions extends CallOptions {
  readonly uploads: Uploads;
  readonly store: ContentStore;
  /** Strict, over the same store. */
  readonly reader: IndexReader;
  /** Where parts of large NARs wait. */
  readonly spool: Spool;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  readonly onWarning: (message: string) => void;
  readonly now: () => Date;
  /** Of one commit; default: 2000. */
  readonly maxPaths?: number | undefined;
}

/** Paths of one commit; the rest is the next one's, so that what was committed is let go of soon. */
const MAX_PATHS = 2000;
/** NARs that are read at once. */
const CONCURRENCY = 8;

/**
 * Commits what is waiting, as far as all that it refers to is there. What is not says why, and is tried again with the next.
 *
 * @returns whether there is more
 * @throws {NixcacheError} when nothing can be committed now
 */
export async function commitUploads(options: CommitUploadsOptions): Promise<boolean> {
  const { uploads, store, reader, signal } = options;
  if (uploads.uncommitted().length === 0) return false;
  await reader.refresh({ signal });
  await letGoOfPublished(options);
  const waiting = ofOneStore(uploads, reader);
  const inOrder = infosInOrder(waiting.map((pending) => ({ ...pending.narInfo, pending }))).map(
    ({ pending }) => pending,
  );
  const { ready, isMore } = await whole(inOrder, options);
  if (ready.length === 0) return false;
  const segments: CommittedSegment[] = [];
  const [{ narInfo: first }] = ready as [PendingPath];
  await using writer = new CacheWriter({
    ...{ store, spool: options.spool, storeDir: storeDirOf(first.path), creator: options.creator },
    ...{ sourceUrl: options.sourceUrl, publicKeys: uploads.publicKeys, signal, now: options.now },
    onCommit: async (segment, _entries, blob) => {
      segments.push(segment);
      await reader.mirror.keep(segment.tag, { blob, signers: [] });
    },
    onLeftOut: ({ path, reason }) => {
      const pending = uploads.pending.get(hashPartOf(path));
      if (pending !== undefined) uploads.notCommitted(pending, reason);
    },
  });
  const fresh = ready.filter(({ nar }) => nar !== undefined);
  const again = ready.filter(({ nar }) => nar === undefined);
  const addAll = (paths: readonly PendingPath[]): Promise<void> =>
    writer.addAll(
      paths.map((each) => incomingOf(each, options)),
      { concurrency: CONCURRENCY },
    );
  const guard: KeepWholeOptions = {
    ...{ store, reader, writer, signal },
    relied: () => reliedOn(ready, reader),
    pushAgain: async (lost) => {
      const gone = new Set(lost);
      const mine = fresh.filter(({ narInfo }) => gone.delete(hashPartOf(narInfo.path)));
      const [other] = gone;
      if (other !== undefined) {
        throw new NixcacheError(
          'ERR_INDEX',
          `a gc dropped ${other} from ${store.name}, to which uploads refer: they wait`,
        );
      }
      await addAll(mine);
    },
  };
  await listAgain(again, writer, options);
  await addAll(fresh);
  await restoreVanished(guard, true);
  await writer.finish();
  await keepWhole(guard);
  if (segments.length > 0) await pointCacheIndex(segments, options);
  const committed = ready.filter(({ narInfo }) => !writer.leftOut.has(baseNameOf(narInfo.path)));
  uploads.committed(committed);
  return isMore && committed.length > 0;
}

/** What waits, but for paths of another store, for which others had the cache first. */
function ofOneStore(uploads: Uploads, reader: IndexReader): readonly PendingPath[] {
  const waiting = uploads.uncommitted();
  const [first] = waiting;
  if (first === undefined) return waiting;
  const storeDir = reader.status().entries > 0 ? reader.storeDir : storeDirOf(first.narInfo.path);
  return waiting.filter((path) => {
    const isOurs = storeDirOf(path.narInfo.path) === storeDir;
    if (!isOurs) uploads.notCommitted(path, `${reader.name} is a cache for ${storeDir}`);
    return isOurs;
  });
}

/**
 * Those of `paths`, which come references first, that refer to nothing which is nowhere, up to what one commit takes. What could
 * not be committed before has its turn after all else, or, being enough of it, it would hold up everything.
 */
async function whole(
  paths: readonly PendingPath[],
  options: CommitUploadsOptions,
): Promise<{ readonly ready: readonly PendingPath[]; readonly isMore: boolean }> {
  const { uploads } = options;
  const ready = new Map<HashPart, PendingPath>();
  const fresh = paths.filter(({ trouble }) => trouble === undefined);
  for (const round of [fresh, paths]) {
    for (const path of round) {
      const hashPart = hashPartOf(path.narInfo.path);
      if (ready.has(hashPart)) continue;
      if (ready.size === (options.maxPaths ?? MAX_PATHS)) return { ready: [...ready.values()], isMore: true };
      const lacking = await lackingOf(path, ready, options);
      if (lacking === undefined) ready.set(hashPart, path);
      else if (round === paths) uploads.notCommitted(path, lacking);
    }
  }
  return { ready: [...ready.values()], isMore: false };
}

/** What the commit needs of what the cache has, and what it brings. */
function* reliedOn(ready: readonly PendingPath[], reader: IndexReader): Generator<HashPart> {
  const seen = new Set<HashPart>();
  for (const { narInfo } of ready) {
    for (const hashPart of narInfo.references.map(hashPartOf)) {
      if (!seen.has(hashPart) && reader.has(hashPart)) yield hashPart;
      seen.add(hashPart);
    }
  }
}

/** What the cache has, and what gained signatures or realisations; what it has no more is let go of. */
async function listAgain(
  again: readonly PendingPath[],
  writer: CacheWriter,
  { store, reader, signal }: CommitUploadsOptions,
): Promise<void> {
  if (again.length === 0) return;
  const byPath = new Map(again.map((pending) => [hashPartOf(pending.narInfo.path), pending]));
  const { entries } = await findDueEntries({
    ...{ store, reader, signal, hashParts: [...byPath.keys()], before: Number.NEGATIVE_INFINITY },
    isDueToo: ({ entry }) => byPath.has(hashPartOf(entry.narInfo.path)),
  });
  for (const backed of entries) {
    const pending = byPath.get(hashPartOf(backed.entry.narInfo.path));
    const entry = pending && entryOf(pending, backed.entry);
    if (entry !== undefined) await writer.add(carried({ ...backed, entry: { ...entry, asserted: undefined } }));
  }
}

/** With the signatures and realisations of the entry in whose place it comes. */
function incomingOf(pending: PendingPath, { uploads, reader, spool }: CommitUploadsOptions): IncomingPath {
  const held = reader.findEntry(hashPartOf(pending.narInfo.path));
  const same = held !== undefined && isSameSigned(held.narInfo, pending.narInfo) ? held : undefined;
  const info = { ...pending.narInfo, sigs: [...new Set([...(same?.narInfo.sigs ?? []), ...pending.narInfo.sigs])] };
  const realisations = mergeRealisations([same?.realisations ?? [], pending.realisations]);
  return {
    info,
    take: async (call) => {
      const { url: _ours, fileHash: _itsHash, fileSize: _itsSize, ...narInfo } = info;
      return { narInfo, nar: await readNar(pending, uploads, spool, call), realisations };
    },
  };
}

/** Reads the file out of the spool of uploads into that of the writer, which splits large ones. */
async function readNar(pending: PendingPath, uploads: Uploads, spool: Spool, options: CallOptions): Promise<NarResult> {
  const { narInfo, nar = '' } = pending;
  const sink = await spool.open({ maxInlineBytes: MAX_PACKED_BYTES, partBytes: partBytesFor(narInfo.narSize) });
  try {
    const record: UploadRecord = await uploads.readRecord(hashPartOf(narInfo.path));
    // Its hash is made on the way: it is looked at once all of it is there.
    for await (const chunk of bytesOf(nar, uploads)) {
      if (options.signal?.aborted) throw abortReason(options.signal);
      sink.write(chunk);
    }
    const written = sink.finish();
    if (written.fileHash !== narInfo.fileHash || written.fileSize !== narInfo.fileSize) throw damaged(pending);
    return { ...written, listing: record.listing };
  } catch (cause) {
    sink.discard();
    if (isNixcacheError(cause, 'ERR_NAR_MISMATCH')) throw cause;
    if (!isNixcacheError(cause, 'ERR_NOT_FOUND', 'ERR_FORMAT')) throw cause;
    throw damaged(pending, cause);
  }
}

/** A file that cannot be read holds up its path and no other. @throws {NixcacheError} ERR_NOT_FOUND */
async function* bytesOf(nar: string, { spool }: Uploads): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of await spool.openNar(nar)) yield chunk;
  } catch (cause) {
    throw new NixcacheError('ERR_NOT_FOUND', `nar/${nar} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

const damaged = ({ nar }: PendingPath, cause?: unknown): NixcacheError =>
  new NixcacheError('ERR_NAR_MISMATCH', `nar/${nar} is damaged in the upload directory: upload the path again`, {
    cause,
  });

async function pointCacheIndex(
  segments: readonly CommittedSegment[],
  { uploads: { publicKeys }, store, reader, sourceUrl, onWarning, now, signal }: CommitUploadsOptions,
): Promise<void> {
  const { view } = reader;
  if (view === undefined) throw new Error('the reader was refreshed before');
  const added = segments.map(({ descriptor }) => descriptor);
  await updateCacheIndex(store, { view, added, publicKeys, sourceUrl, now: now(), signal }, onWarning);
}
