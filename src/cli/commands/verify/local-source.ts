/** The local Nix store as `verify --repair` draws on it: through the same upload as a publish. */

import { infosInOrder } from '../../../cache/write/references-first.ts';
import type { Compression } from '../../../nar/nar-job.ts';
import type { SecretKey } from '../../../nix/signature.ts';
import { storeDirOf } from '../../../nix/store-path.ts';
import type { LocalStore } from '../../../nix-store/local-store.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { pushPaths } from '../../../publish/push-paths.ts';
import type { LocalSource } from '../../../verify/local-source.ts';
import type { Output } from '../../ui/output.ts';

export interface LocalSourceOptions {
  readonly store: ContentStore;
  readonly localStore: LocalStore;
  readonly keys: readonly SecretKey[];
  readonly compression: Compression;
  readonly creator: string;
  readonly sourceUrl: string | undefined;
  readonly output: Output;
}

export function localSource(options: LocalSourceOptions): LocalSource {
  const { store, localStore, keys, compression, creator, sourceUrl, output } = options;
  return {
    signs: keys.length > 0,
    async queryValid(paths, { signal }) {
      const ours = paths.filter((path) => storeDirOf(path) === localStore.storeDir);
      const valid = [...(await localStore.queryValidPaths(ours, { signal }))];
      return valid.length > 0 ? localStore.queryPathInfos(valid, { signal }) : [];
    },
    queryClosure: (paths, { signal }) => localStore.queryClosure(paths, { signal }),
    async push({ infos, unlike, signal }) {
      const other: Compression = unlike === 'none' ? { method: 'zstd' } : { method: 'none' };
      const outcome = await pushPaths({
        ...{ store, keys, creator, sourceUrl, signal, storeDir: localStore.storeDir },
        push: infosInOrder(infos),
        asserted: [],
        roots: [],
        compression: unlike === undefined ? compression : other,
        contentPath: ({ path }) => localStore.contentPath(path),
        onEvent: (event) => {
          if (event.type === 'warning') output.warn(event.message);
        },
        now: () => new Date(),
      });
      return outcome.failed;
    },
  };
}
