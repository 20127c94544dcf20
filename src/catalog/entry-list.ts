/** The entries of a cache one by one, sorted by name. */
import type { IndexReader } from '../cache/read/index-reader.ts';
import { type BaseName, baseNameOf, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { byName } from './look-up.ts';
import type { PathFilter } from './summary.ts';

export interface ListedEntry {
  readonly path: StorePath;
  readonly narBytes: number;
  readonly fileBytes: number;
  /** When a publisher last needed it. */
  readonly asserted: Date;
  /** Names of the keys that signed it; verified by nobody. */
  readonly signedBy: readonly string[];
}

/** Holds nothing but the base names of what matches: each entry is read again when its turn comes. */
export function* listEntries(reader: IndexReader, matches: PathFilter): Generator<ListedEntry> {
  const names: BaseName[] = [];
  for (const { entry } of reader.entries()) {
    const name = baseNameOf(entry.narInfo.path);
    if (matches(name)) names.push(name);
  }
  for (const name of names.sort(byName)) {
    const found = reader.findAsserted(hashPartOf(name));
    if (!found) throw new Error(`${name} has gone from a table that nobody changes`);
    const { path, narSize, fileSize, sigs } = found.entry.narInfo;
    yield {
      ...{ path, narBytes: narSize, fileBytes: fileSize, asserted: new Date(found.asserted * 1000) },
      signedBy: [...new Set(sigs.map((sig) => sig.slice(0, sig.indexOf(':'))))],
    };
  }
}
