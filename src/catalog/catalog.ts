/**
 * All that a cache says of itself: its entries, as the reader holds them, and its roots, pins and keys, which lie in the
 * configs of segments and checkpoints. Lenient: what cannot be read is told of and left out.
 */

import type { IndexReader } from '../cache/read/index-reader.ts';
import type { SegmentRecord } from '../cache/read/segment-record.ts';
import { checkpointsOf, readRecords } from '../cache/read/stored-records.ts';
import type { CacheView } from '../cache/read/view.ts';
import { currentPins, mergePins, mergeRoots, type Pin, type Root } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf } from '../errors.ts';
import { type PublicKey, sortPublicKeys } from '../nix/signature.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';

export interface Catalog {
  readonly reader: IndexReader;
  readonly view: CacheView;
  /** Those that could be read, oldest first. */
  readonly segments: readonly SegmentRecord[];
  /** All records, oldest first. */
  readonly roots: readonly Root[];
  /** All records, oldest first: also of what was moved or removed since. */
  readonly pins: readonly Pin[];
  /** Those in force, by name. */
  readonly currentPins: readonly Pin[];
  /** Signing keys that publishers named, sorted by their texts. */
  readonly publicKeys: readonly PublicKey[];
  /** What could not be read, and why: with it, gc stops. */
  readonly unreadable: readonly string[];
}

export interface CatalogOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  /** Over the same store; refreshed here. */
  readonly reader: IndexReader;
  readonly onWarning: (message: string) => void;
}

/** @throws {NixcacheError} when the cache cannot be read at all */
export async function readCatalog(options: CatalogOptions): Promise<Catalog> {
  const { reader, onWarning, signal } = options;
  await reader.refresh({ signal });
  const { view } = reader;
  if (!view) throw new Error('the reader was never refreshed');
  const unreadable: string[] = [];
  const read = readRecords(view, {
    ...{ store: options.store, signal },
    onProblem({ error, warning = '' }) {
      unreadable.push(messageOf(error));
      onWarning(warning);
    },
  });
  const segments: SegmentRecord[] = [];
  for await (const record of read) segments.push(record);
  const sources = [...segments.map(({ config }) => config), ...checkpointsOf(view)];
  const named = [...view.publicKeys, ...sources.flatMap(({ publicKeys }) => publicKeys)];
  const { keys, malformed } = sortPublicKeys([...new Set(named)].sort());
  // Of those in cache-index the reader has told.
  const told = new Set(view.publicKeys);
  for (const text of malformed) {
    if (!told.has(text)) onWarning(`a publisher named '${text}', which is no public key: it is ignored`);
  }
  const pins = mergePins(sources.map((source) => source.pins));
  return {
    ...{ reader, view, segments, pins, unreadable },
    roots: mergeRoots(sources.map(({ roots }) => roots)),
    currentPins: currentPins(pins).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    publicKeys: keys,
  };
}
