/**
 * Turns a cache of the older layout into one of ours, keeping every entry and uploading no NAR.
 *
 * Segments with all entries are committed under their own tags first, their layers the NARs that are there; only then
 * does `cache-index` change. Killed before that, old readers still see the old index, and the next run goes on where this
 * one stopped. Of two that run at once each writes what it does not see of the other: duplicates, never losses.
 */

import type { Entry } from '../../cache-index/entry.ts';
import * as mediaTypes from '../../cache-index/media-types.ts';
import { CACHE_INDEX_TAG } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, NixcacheError } from '../../errors.ts';
import { DEFAULT_STORE_DIR, type HashPart, hashPartOf, type StorePath } from '../../nix/store-path.ts';
import type { ContentStore, StoredManifest } from '../../oci/content-store.ts';
import { IMAGE_MANIFEST } from '../../oci/manifest.ts';
import { IndexReader } from '../read/index-reader.ts';
import { fetchLegacyIndex, legacyIndexOf, rootRecords } from '../read/legacy-index.ts';
import { stopAtProblems } from '../read/problem.ts';
import { fetchRecords, recordsBeyond } from '../read/stored-records.ts';
import { refreshCacheIndex } from './cache-index.ts';
import { CacheWriter } from './cache-writer.ts';
import { type BackedEntry, carried } from './incoming.ts';
import { referencesFirst } from './references-first.ts';

export interface ConvertOptions extends CallOptions {
  readonly store: ContentStore;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  readonly onEvent: (event: ConvertEvent) => void;
  readonly now: () => Date;
}

type ConvertEvent =
  | { readonly type: 'found'; readonly entries: number }
  | { readonly type: 'committed'; readonly tag: string; readonly entries: number }
  | { readonly type: 'warning'; readonly message: string };

export interface ConvertReport {
  /** Entries taken over by this run. */
  readonly converted: number;
  /** Entries whose NAR the registry has lost: nobody could have fetched them. */
  readonly lost: number;
}

/** Old publishers may write a new index while we convert the last one; more often than this is no accident. */
const MAX_ATTEMPTS = 5;

/**
 * Converts the cache in `store`; undefined if it is not of the older layout.
 *
 * @throws {NixcacheError} ERR_INDEX and ERR_INDEX_VERSION before anything is written, when the older index cannot be read
 */
export async function convertLegacy(options: ConvertOptions): Promise<ConvertReport | undefined> {
  const { store, signal } = options;
  let report: ConvertReport | undefined;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const head = await store.resolve(CACHE_INDEX_TAG, { signal });
    if (head?.mediaType !== IMAGE_MANIFEST) return report;
    const manifest = await store.fetchManifest(CACHE_INDEX_TAG, { signal });
    if (!manifest || !legacyIndexOf(manifest)) return report;
    const { converted, lost, isDone } = await convertOnce(manifest, options);
    report = { converted: converted + (report?.converted ?? 0), lost };
    if (isDone) return report;
  }
  throw new NixcacheError(
    'ERR_INDEX',
    `convert ${store.name}: another publisher goes on writing the older index; stop it, and try again`,
  );
}

async function convertOnce(
  manifest: StoredManifest,
  options: ConvertOptions,
): Promise<ConvertReport & { readonly isDone: boolean }> {
  const { store, signal, onEvent, now } = options;
  const { index } = await fetchLegacyIndex(store, manifest, { onProblem: stopAtProblems, signal });
  onEvent({ type: 'found', entries: index.entries.length });
  const reader = await IndexReader.open({ store, strict: true, legacy: 'ignore' });
  await reader.refresh({ signal });
  const { view } = reader;
  if (!view) throw new Error('the reader was never refreshed');
  const writer = new CacheWriter({
    ...options,
    storeDir: DEFAULT_STORE_DIR,
    publicKeys: index.publicKeys,
    onCommit: ({ tag, entries }) => onEvent({ type: 'committed', tag, entries }),
    // Nothing but the index named these NARs, so a registry's garbage collection may have taken some.
    onLeftOut: ({ path, reason }) => onEvent({ type: 'warning', message: `${path} is left out: ${reason}` }),
    keepsDependents: true,
  });
  const byHash = new Map(index.entries.map((entry) => [hashPartOf(entry.narInfo.path), entry]));
  for (const hashPart of referencesFirst(byHash.keys(), (each) =>
    byHash.get(each)?.narInfo.references.map(hashPartOf),
  )) {
    const entry = byHash.get(hashPart);
    if (!entry || reader.has(hashPart)) continue;
    await writer.add(carried(withBlob(entry)));
  }
  const pathOf = (hashPart: HashPart): StorePath | undefined => byHash.get(hashPart)?.narInfo.path;
  const records = { roots: rootRecords(index, manifest.descriptor.digest, pathOf), pins: [] };
  await writer.finish(recordsBeyond(records, await fetchRecords(store, view, { signal })));
  const added = writer.segments.map(({ descriptor }) => descriptor);
  const converted = writer.segments.reduce((sum, { entries }) => sum + entries, 0);
  const lost = writer.leftOut.size;
  try {
    const overwrites = manifest.descriptor.digest;
    const { publicKeys } = index;
    await refreshCacheIndex(store, { ...options, view, added, publicKeys, overwrites, now: now() });
    return { converted, lost, isDone: true };
  } catch (error) {
    // Another old index came in the meantime, whose entries must not be lost.
    if (!isNixcacheError(error, 'ERR_INDEX')) throw error;
    return { converted, lost, isDone: false };
  }
}

const withBlob = (entry: Entry): BackedEntry => ({
  entry,
  blobs: entry.nar.map(({ digest, length }) => ({ mediaType: mediaTypes.NAR, digest, size: length })),
});
