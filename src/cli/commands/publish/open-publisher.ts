/** What `publish` and `push` need opened. */
import type { IndexReader } from '../../../cache/read/index-reader.ts';
import type { PushSettings } from '../../../config/publish-settings.ts';
import type { SecretKey } from '../../../nix/signature.ts';
import { type NixLocalStore, openLocalStore } from '../../../nix-store/local-store.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { PATIENT, type Upstream } from '../../../upstream/upstream.ts';
import type { Session } from '../../session/session.ts';

export interface Publisher {
  readonly store: ContentStore;
  readonly reader: IndexReader;
  readonly localStore: NixLocalStore;
  readonly command: NixCommand;
  readonly upstreams: readonly Upstream[];
  readonly keys: readonly SecretKey[];
}

/** Reads keys first and reaches out last, so that what the user must change is said at once. */
export async function openPublisher(
  session: Session,
  settings: PushSettings,
  { sparse = false }: { readonly sparse?: boolean } = {},
): Promise<Publisher> {
  const { output, signal, cwd } = session.context;
  const { cache } = session; // a wrong reference is said first
  const command = new NixCommand({ cwd });
  // Nix takes a while to start, on a core of its own. What is wrong with keys and credentials is said first all the same.
  const opening = openLocalStore({ command, signal });
  opening.catch(() => undefined);
  const keys = await session.signingKeys(settings.signingKeys);
  if (keys.length === 0) {
    output.warn(
      'there is no signing key: what is published is unsigned, and Nix clients refuse it unless they set require-sigs = false; ' +
        'make a key with: nixcache key generate NAME',
    );
  }
  await session.credentials();
  await session.loadStore();
  const localStore = await opening;
  const { dryRun } = settings;
  const store = await session.store({ cache, create: !dryRun });
  const reader = await session.writersReader(store, { dryRun, sparse });
  const upstreams = session.upstreams(settings.upstreams, { patience: PATIENT, storeDir: localStore.storeDir });
  return { store, reader, localStore, command, upstreams, keys };
}
