/**
 * A reader that answers at once from what is kept on this machine, and looks at each entry when it is asked for: where that
 * is damaged, the segment is fetched again before the answer is given.
 */
import type { Entry } from '../../cache-index/entry.ts';
import type { NixHash } from '../../nix/hash.ts';
import type { HashPart } from '../../nix/store-path.ts';
import type { CacheReader } from './cache-reader.ts';
import type { IndexReader } from './index-reader.ts';
import type { Awaitable } from './index-store.ts';
import { DamagedCopy } from './mirror.ts';

/** `reader`, which looks at entries `lazily`. */
export function healing(reader: IndexReader): CacheReader {
  const healed = <T>(look: () => T): Awaitable<T> => {
    try {
      return look();
    } catch (error) {
      if (!(error instanceof DamagedCopy)) throw error;
      return reader.refresh().then(look);
    }
  };
  return {
    name: reader.name,
    get storeDir() {
      return reader.storeDir;
    },
    findNarInfoText: (hashPart: HashPart) => healed(() => reader.findNarInfoText(hashPart)),
    findEntry: (hashPart: HashPart) => healed(() => reader.findEntry(hashPart)),
    findNarFile: (fileHash: NixHash) => healed(() => reader.findNarFile(fileHash)),
    findRealisation: (id: string) => healed(() => reader.findRealisation(id)),
    entriesOf: (hashPart: HashPart) => reader.entriesOf(hashPart),
    openContents: () => reader.openContents(),
    openNar: (entry: Entry, options) => reader.openNar(entry, options),
    locateNar: (entry: Entry, options) => reader.locateNar(entry, options),
    fetchListing: (entry: Entry, options) => reader.fetchListing(entry, options),
    fetchPublicKeys: () => reader.fetchPublicKeys(),
    refresh: (options) => reader.refresh(options),
    status: () => reader.status(),
    close: () => reader.close(),
  };
}
