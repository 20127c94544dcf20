/**
 * Entries that are in the cache but were last asserted long ago are listed again, without upload: so "retain 30 days"
 * means since last published, and a gc that runs at the same time cannot break the closure published or pinned now.
 */

import { extentsOf } from '../../cache-index/entry.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf, NixcacheError } from '../../errors.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import type { IndexReader } from '../read/index-reader.ts';
import { readError } from '../read/problem.ts';
import { fetchSegmentImage } from '../read/segment-record.ts';
import type { BackedEntry } from './incoming.ts';
import { referencesFirst } from './references-first.ts';

export interface AssertOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly reader: IndexReader;
  /** What is relied on: a closure, or the roots whose closure only the cache has. */
  readonly hashParts: readonly HashPart[];
  /** Unix seconds: entries asserted before are due. */
  readonly before: number;
}

type Found = NonNullable<ReturnType<IndexReader['findAsserted']>>;

/**
 * The entries that are due, references first: they may take several segments, and a gc that drops them from where they
 * were must find no segment that lists a path without what it refers to.
 */
export async function findDueEntries(options: AssertOptions): Promise<BackedEntry[]> {
  await options.reader.bring(options.hashParts, options.before, options);
  const closure = new Map<HashPart, Found>();
  for (const found of cachedClosure(options.reader, options.hashParts)) {
    closure.set(hashPartOf(found.entry.narInfo.path), found);
  }
  const order = referencesFirst(closure.keys(), (hashPart) =>
    closure.get(hashPart)?.entry.narInfo.references.map(hashPartOf),
  );
  const due = [...order]
    .flatMap((hashPart) => closure.get(hashPart) ?? [])
    .filter((found) => found.asserted < options.before);
  const tags = [...new Set(due.map(({ tag }) => tag))];
  const layers = new Map(await Promise.all(tags.map(async (tag) => [tag, await fetchLayers(tag, options)] as const)));
  return due.map(({ entry, tag }) => {
    const known = layers.get(tag);
    const digests = new Set<Digest>(extentsOf(entry).map(({ digest }) => digest));
    const blobs = [...digests].map((digest) => {
      const blob = known?.get(digest);
      if (!blob)
        throw new NixcacheError(
          'ERR_INDEX',
          `segment ${tag} does not hold ${digest}, which ${entry.narInfo.path} needs; run nixcache verify`,
        );
      return blob;
    });
    return { entry, blobs };
  });
}

/** The entries that `roots` reach in the cache, each once. */
function* cachedClosure(reader: IndexReader, roots: readonly HashPart[]): Generator<Found> {
  const seen = new Set<HashPart>(roots);
  const open = [...seen];
  for (let hashPart = open.pop(); hashPart !== undefined; hashPart = open.pop()) {
    const found = reader.findAsserted(hashPart);
    if (!found) continue;
    yield found;
    for (const reference of found.entry.narInfo.references) {
      const next = hashPartOf(reference);
      if (seen.has(next)) continue;
      seen.add(next);
      open.push(next);
    }
  }
}

async function fetchLayers(tag: string, { store, reader, signal }: AssertOptions): Promise<Map<Digest, Descriptor>> {
  const what = `segment ${tag} of ${store.name}`;
  try {
    const { image } = await fetchSegmentImage(tag, reader.view, { store, signal });
    return new Map(image.layers.map((layer) => [layer.digest, layer]));
  } catch (error) {
    throw readError(error, `${what} (${messageOf(error)})`);
  }
}
