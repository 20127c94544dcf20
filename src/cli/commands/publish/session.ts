/** Everything that `publish` and `push` need opened, and closed again on every path. */
import { openDirectoryIndex } from '../../../cache/disk/directory-index.ts';
import { IndexReader, type IndexReaderOptions } from '../../../cache/read/index-reader.ts';
import { type CacheSetting, ownIndexDirectory, resolveCache } from '../../../config/cache-reference.ts';
import type { PushSettings } from '../../../config/publish-settings.ts';
import type { Sources } from '../../../config/resolve.ts';
import { readSigningKeys } from '../../../config/signing-keys.ts';
import { HttpClient } from '../../../http/client.ts';
import type { SecretKey } from '../../../nix/signature.ts';
import { type NixLocalStore, openLocalStore } from '../../../nix-store/local-store.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { PATIENT, type Upstream } from '../../../upstream/upstream.ts';
import type { CommandContext, CommonFlags } from '../../context.ts';
import { openStore, readCredentials } from '../../session/open-store.ts';
import { openUpstreams } from '../../session/open-upstreams.ts';
import { convertedStore } from '../../session/open-writable.ts';
import { Opened } from '../../session/opened.ts';

export interface PublishSession extends AsyncDisposable {
  readonly cache: CacheSetting;
  readonly http: HttpClient;
  readonly store: ContentStore;
  readonly reader: IndexReader;
  readonly localStore: NixLocalStore;
  readonly command: NixCommand;
  readonly upstreams: readonly Upstream[];
  readonly keys: readonly SecretKey[];
}

/** Reads keys first and reaches out last, so that what the user must change is said at once. */
export async function openPublishSession(
  settings: PushSettings,
  sources: Sources<CommonFlags>,
  context: CommandContext,
  { sparse = false }: Pick<IndexReaderOptions, 'sparse'> = {},
): Promise<PublishSession> {
  const { output, signal, cwd } = context;
  const cache = resolveCache(sources);
  for (const source of settings.signingKeys) if ('text' in source) output.addSecret(source.text);
  const keys = await readSigningKeys(settings.signingKeys);
  if (keys.length === 0) {
    output.warn(
      'there is no signing key: what is published is unsigned, and Nix clients refuse it unless they set require-sigs = false; ' +
        'make a key with: nixcache key generate NAME',
    );
  }
  const credentials = await readCredentials(sources.flags, context);
  const command = new NixCommand({ cwd });
  const localStore = await openLocalStore({ command, signal });
  await using opened = new Opened();
  const http = opened.add(new HttpClient(), (client) => client.destroy());
  const opening = await openStore(cache, context, { create: !settings.dryRun, http, credentials });
  const store = await convertedStore(opening, context, settings);
  const reader = opened.add(
    await IndexReader.open({
      ...{ store, strict: true, sparse },
      index: await openDirectoryIndex(ownIndexDirectory(sources, cache.name), (message) => output.warn(message)),
      onWarning: (message) => output.warn(message),
    }),
    (each) => each.close(),
  );
  const upstreams = openUpstreams(settings.upstreams, opened, http, {
    output,
    patience: PATIENT,
    storeDir: localStore.storeDir,
  });
  const kept = opened.move();
  return {
    ...{ cache, http, store, reader, localStore, command, upstreams, keys },
    [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
  };
}
