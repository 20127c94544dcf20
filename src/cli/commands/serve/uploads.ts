/** Uploads of a running server: the directory in which they wait, and the writer that brings them into the cache. */
import { openDirectoryIndex } from '../../../cache/disk/directory-index.ts';
import { DiskSpool } from '../../../cache/disk/spool.ts';
import type { CacheReader } from '../../../cache/read/cache-reader.ts';
import { IndexReader } from '../../../cache/read/index-reader.ts';
import type { ServeCache } from '../../../config/serve-caches.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { commitUploads } from '../../../serve/commit/commit-uploads.ts';
import { CommitTimer } from '../../../serve/node/commit-timer.ts';
import { UploadDirectory } from '../../../serve/node/upload-directory.ts';
import { type UploadEvent, Uploads } from '../../../serve/upload/uploads.ts';
import { SharedWork } from '../../../shared-work.ts';
import { convertStore } from '../../session/convert-store.ts';
import { openStore } from '../../session/open-store.ts';
import type { Session, SessionStoreOptions } from '../../session/session.ts';
import type { ReloadableOptions } from './reload.ts';

/** How long a server that stops goes on to commit; what is left then is committed after the next start. */
export const COMMIT_STOP_MS = 20_000;

export interface OpenUploadsOptions extends Pick<SessionStoreOptions, 'credentials'> {
  readonly reader: CacheReader;
  readonly options: ReloadableOptions;
  readonly onEvent: (event: UploadEvent) => void;
}

/**
 * Takes uploads into a cache, and has them committed in the background until the session ends; undefined where no token may upload.
 *
 * @throws {NixcacheError} ERR_USAGE when another server has the directory; ERR_IO
 */
export async function openUploads(
  session: Session,
  served: ServeCache,
  { reader, options, onEvent, ...login }: OpenUploadsOptions,
): Promise<Uploads | undefined> {
  if (options.access?.tokens.has('push') !== true) return undefined;
  const { uploadDirectory } = served.settings;
  const spool = session.add(await UploadDirectory.open(uploadDirectory), (each) => each[Symbol.asyncDispose]());
  const uploads = await Uploads.open({ reader, onEvent, spool });
  const opening = new SharedWork((signal) => openForWriting(session, served, { ...login, signal }), { keeps: true });
  const commit = async (signal: AbortSignal): Promise<boolean> => {
    if (uploads.uncommitted().length === 0) return false;
    const store = await opening.join({ signal });
    return commitOnce(session, served, { uploads, store, signal });
  };
  session.add(new CommitTimer({ uploads, commit }), (timer) => timer.drain(COMMIT_STOP_MS));
  return uploads;
}

/** The session's own signal ends the server, and not what it still has to commit. */
async function openForWriting(
  session: Session,
  { cache }: ServeCache,
  { signal, ...login }: Pick<SessionStoreOptions, 'credentials'> & { readonly signal: AbortSignal },
): Promise<ContentStore> {
  const context = { ...session.context, signal };
  const credentials = 'credentials' in login ? login.credentials : await session.credentials();
  const store = await openStore(cache, context, { create: true, http: session.http, credentials });
  await convertStore(store, context, session.provenance, { dryRun: false, now: await session.clock(store) });
  return store;
}

interface Commit {
  readonly uploads: Uploads;
  readonly store: ContentStore;
  readonly signal: AbortSignal;
}

/** A reader that is strict is open only as long as it is needed: it has the whole index. */
async function commitOnce(
  session: Session,
  { settings }: ServeCache,
  { uploads, store, signal }: Commit,
): Promise<boolean> {
  const { onWarning } = session;
  const index = await openDirectoryIndex(settings.indexDirectory, onWarning);
  const reader = await IndexReader.open({ store, index, strict: true, sparse: true, onWarning });
  try {
    await using spool = new DiskSpool(store);
    return await commitUploads({
      ...{ uploads, store, reader, spool, signal, onWarning },
      ...session.provenance,
      now: await session.clock(store),
    });
  } finally {
    reader.close();
  }
}
