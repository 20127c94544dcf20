/** What `publish` and `push` need opened. */
import { existsSync } from 'node:fs';
import { assertStoreDir } from '../../../cache/read/cache-reader.ts';
import type { IndexReader } from '../../../cache/read/index-reader.ts';
import type { PushSettings } from '../../../config/publish-settings.ts';
import { isNixcacheError, NixcacheError } from '../../../errors.ts';
import type { SecretKey } from '../../../nix/signature.ts';
import { type NixLocalStore, openLocalStore } from '../../../nix-store/local-store.ts';
import type { NixCommand } from '../../../nix-store/nix-command.ts';
import type { ContentStore, WriteChecker } from '../../../oci/content-store.ts';
import { PATIENT } from '../../../upstream/patience.ts';
import type { Upstream } from '../../../upstream/upstream.ts';
import type { Session } from '../../session/session.ts';
import type { Output } from '../../ui/output.ts';

export interface Publisher {
  readonly store: ContentStore;
  readonly reader: IndexReader;
  readonly localStore: NixLocalStore;
  readonly command: NixCommand;
  readonly upstreams: readonly Upstream[];
  readonly keys: readonly SecretKey[];
}

export interface OpenPublisherOptions {
  /** As of IndexReaderOptions. */
  readonly sparse?: boolean;
  readonly command: NixCommand;
}

/** Reads keys first and reaches out last, so that what the user must change is said at once. */
export async function openPublisher(
  session: Session,
  settings: PushSettings,
  { command, sparse = false }: OpenPublisherOptions,
): Promise<Publisher> {
  const { signal } = session.context;
  const { cache } = session; // a wrong reference is said first
  // Nix takes a while to start, on a core of its own. What is wrong with keys and credentials is said first all the same.
  const opening = openLocalStore({ command, signal });
  opening.catch(() => undefined);
  const keys = await session.signingKeys(settings.signingKeys);
  await session.credentials();
  await session.loadStore();
  const { dryRun } = settings;
  const { reference } = cache;
  // Without a Nix that works no empty layout is left behind.
  if (reference.kind === 'layout' && !existsSync(reference.path)) await opening;
  const store = await session.store({ cache, create: !dryRun });
  // What the cache holds is read while Nix starts.
  const [local, read, writable] = await Promise.allSettled([
    opening,
    openReader(session, store, { dryRun, sparse }),
    dryRun ? undefined : checkWrite(store, signal),
  ]);
  if (local.status === 'rejected') throw local.reason;
  // What cannot be read either is told of by that: it says more.
  if (read.status === 'rejected') throw read.reason;
  if (writable.status === 'rejected') throw writable.reason;
  const localStore = local.value;
  const reader = read.value;
  assertStoreDir(reader, localStore.storeDir); // before anything is built
  const upstreams = session.upstreams(settings.upstreams, {
    patience: PATIENT,
    tellsWaits: true,
    storeDir: localStore.storeDir,
  });
  return { store, reader, localStore, command, upstreams, keys };
}

/** To be said once nothing is wrong that the user has to change first. */
export function warnUnsigned({ keys }: Publisher, output: Output): void {
  if (keys.length > 0) return;
  output.warn(
    'there is no signing key: what is published is unsigned, and Nix clients refuse it unless they set require-sigs = false; ' +
      'make a key with: nixcache key generate NAME',
  );
}

async function openReader(
  session: Session,
  store: ContentStore,
  options: { readonly dryRun: boolean; readonly sparse: boolean },
): Promise<IndexReader> {
  const reader = await session.writersReader(store, options);
  await reader.refresh({ signal: session.context.signal });
  return reader;
}

/** Before anything is built: hours of work would be for nothing. @throws {NixcacheError} */
async function checkWrite(store: ContentStore & WriteChecker, signal: AbortSignal): Promise<void> {
  try {
    await store.checkWrite({ signal });
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    throw new NixcacheError(
      error.code,
      `${store.name} cannot be written to, so nothing is built or published: ${error.message}`,
      { cause: error },
    );
  }
}
