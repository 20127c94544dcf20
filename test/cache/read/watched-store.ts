/** A store whose calls are watched, and readers over it. */
import { openDirectoryIndex } from '../../../src/cache/disk/directory-index.ts';
import { IndexReader, type IndexReaderOptions } from '../../../src/cache/read/index-reader.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { nameOf } from '../../../src/nix/store-path.ts';
import { MemoryStore, type StoreMethod } from '../../support/memory-store.ts';

export interface Watched {
  readonly store: MemoryStore;
  readonly calls: string[];
  /** Everything fails from now on. */
  down: boolean;
  hook: ((method: StoreMethod, args: readonly unknown[]) => unknown) | undefined;
}

export function watched(): Watched {
  const held: Watched = {
    store: new MemoryStore({
      async onCall(method, args) {
        if (held.down) throw new NixcacheError('ERR_NETWORK', 'the registry is down');
        held.calls.push(method);
        await held.hook?.(method, args);
      },
    }),
    calls: [],
    down: false,
    hook: undefined,
  };
  return held;
}

export const openWatched = async (
  store: MemoryStore,
  { directory, ...options }: Partial<IndexReaderOptions> & { readonly directory?: string } = {},
): Promise<{ readonly reader: IndexReader; readonly warnings: string[] }> => {
  const warnings: string[] = [];
  const onWarning = (message: string): number => warnings.push(message);
  const index = directory === undefined ? undefined : await openDirectoryIndex(directory, onWarning);
  const reader = await IndexReader.open({ store, strict: false, onWarning, index, ...options });
  return { reader, warnings };
};

export const namesIn = (reader: IndexReader): string[] =>
  [...reader.entries()].map(({ entry }) => nameOf(entry.narInfo.path)).sort();
