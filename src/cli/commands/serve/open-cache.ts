/** Opens the caches that are served: their stores and indexes, and what the settings say of each. */
import { openDirectoryIndex } from '../../../cache/disk/directory-index.ts';
import type { CacheReader } from '../../../cache/read/cache-reader.ts';
import { healing } from '../../../cache/read/healing-reader.ts';
import { IndexReader } from '../../../cache/read/index-reader.ts';
import type { ServeCache } from '../../../config/serve-caches.ts';
import type { RetryPolicy } from '../../../http/retry.ts';
import { DiskCache } from '../../../serve/node/disk/disk-cache.ts';
import { TemporarySpools } from '../../../serve/node/disk/temporary-spools.ts';
import type { MountedCache, ServerEvent } from '../../../serve/node/server.ts';
import type { ServeOptions } from '../../../serve/serve-options.ts';
import type { Session, SessionStoreOptions } from '../../session/session.ts';
import { optionsOf, type ReloadableOptions } from './reload.ts';
import { openUploads } from './uploads.ts';

/**
 * Six seconds, however the delays fall out: a registry that starts anew is waited for, as Nix itself would do. Somebody waits:
 * what it does not give by then Nix takes from its next substituter, or builds, and while it stays away all hear so soon.
 */
const PROMPT_RETRIES: RetryPolicy = {
  attempts: 20,
  baseDelayMs: 250,
  maxDelayMs: 1500,
  deadlineMs: 6000,
  afterOutageMs: 500,
};

/** The reader of a cache, closed with the session. @throws {NixcacheError} ERR_USAGE, ERR_INDEX, ERR_IO */
export async function openCache(
  session: Session,
  { cache, settings }: ServeCache,
  options: SessionStoreOptions = {},
): Promise<ReturnType<typeof healing>> {
  const { onWarning } = session;
  const store = await session.lateStore({ cache, retry: { policy: PROMPT_RETRIES }, ...options });
  const index = await openDirectoryIndex(settings.indexDirectory, onWarning);
  const open = { store, index, strict: false, use: 'lazily', legacy: 'read', onWarning } as const;
  return session.add(healing(await IndexReader.open(open)), (each) => each.close());
}

/** Where NARs and narinfos of a cache are kept, and where downloads wait that are not. */
export async function openKeeping(
  session: Session,
  { cache, settings }: ServeCache,
): Promise<Pick<ServeOptions, 'objects' | 'spools' | 'isNear'>> {
  const { diskCache, indexDirectory: directory } = settings;
  const opened = diskCache && (await DiskCache.open({ ...diskCache, onWarning: session.onWarning }));
  const objects = opened && session.add(opened, (each) => each.close());
  return { objects, spools: new TemporarySpools({ directory }), isNear: cache.reference.kind === 'layout' };
}

interface Telling {
  /** With what was uploaded. */
  readonly reader: CacheReader;
  readonly hasUpstreams: boolean;
}

/** A cache beside the first, and what it is asked for with. */
export interface OtherCache {
  readonly mounted: MountedCache;
  readonly options: ReloadableOptions;
}

/** The login that the user gave is for the first: others are logged in to as files and helpers say. */
export async function openOthers(
  session: Session,
  caches: readonly ServeCache[],
  tell: (event: ServerEvent, telling: Telling) => void,
): Promise<readonly OtherCache[]> {
  const opened: OtherCache[] = [];
  for (const served of caches) {
    const cached = await openCache(session, served, { credentials: undefined });
    const keeping = await openKeeping(session, served);
    const options = await optionsOf(session, served.settings);
    let reader: CacheReader = cached;
    const hasUpstreams = served.settings.upstreams.length > 0;
    const onEvent = (event: ServerEvent): void => tell(event, { reader, hasUpstreams });
    const login = { credentials: undefined };
    const uploads = await openUploads(session, served, { reader: cached, options, onEvent, ...login });
    reader = uploads?.reader() ?? cached;
    opened.push({ options, mounted: { reader, uploads, ...keeping, ...options, prefix: served.prefix, onEvent } });
  }
  return opened;
}
