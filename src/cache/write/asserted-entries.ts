/**
 * Entries that are in the cache but were last asserted long ago are listed again, without upload: so "retain 30 days"
 * means since last published. So are those that a gc at work has announced to drop, and those that it has dropped while
 * somebody came to rely on them.
 */

import { extentsOf } from '../../cache-index/entry.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import type { DroppedEntries } from '../read/dropped-entries.ts';
import type { IndexReader } from '../read/index-reader.ts';
import type { FoundEntry } from '../read/loaded-entries.ts';
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
  /** Whether an entry is to be listed again for another reason. */
  readonly isDueToo?: ((found: FoundEntry) => boolean) | undefined;
  /** Where to look for what is not in the cache: it is due as well. */
  readonly dropped?: DroppedEntries | undefined;
}

export interface DueEntries {
  /** References first. */
  readonly entries: readonly BackedEntry[];
  /** All that was found, due or not. */
  readonly closure: readonly HashPart[];
}

/**
 * The entries that are due, references first: they may take several segments, and a gc that drops them from where they
 * were must find no segment that lists a path without what it refers to.
 */
export async function findDueEntries(options: AssertOptions): Promise<DueEntries> {
  await options.reader.loadLeftOut(options.hashParts, options.before, options);
  const closure = new Map<HashPart, FoundEntry>();
  for (const found of cachedClosure(options)) closure.set(hashPartOf(found.entry.narInfo.path), found);
  const isDue = (found: FoundEntry): boolean =>
    found.asserted < options.before ||
    !isLasting(hashPartOf(found.entry.narInfo.path), options) ||
    options.isDueToo?.(found) === true;
  const isNothing = ![...closure.values()].some(isDue); // mostly: then no order is looked for
  const order = referencesFirst(isNothing ? [] : closure.keys(), (hashPart) =>
    closure.get(hashPart)?.entry.narInfo.references.map(hashPartOf),
  );
  const due = [...order].flatMap((hashPart) => closure.get(hashPart) ?? []).filter(isDue);
  const tags = [...new Set(due.map(({ tag }) => tag))];
  const layers = new Map(await Promise.all(tags.map(async (tag) => [tag, await fetchLayers(tag, options)] as const)));
  const entries = due.flatMap(({ entry, tag }) => {
    const known = layers.get(tag);
    if (!known) return [];
    const digests = new Set<Digest>(extentsOf(entry).map(({ digest }) => digest));
    const blobs = [...digests].map((digest) => {
      const blob = known.get(digest);
      if (!blob)
        throw new NixcacheError(
          'ERR_INDEX',
          `segment ${tag} does not hold ${digest}, which ${entry.narInfo.path} needs; run nixcache verify`,
        );
      return blob;
    });
    return { entry, blobs };
  });
  return { entries, closure: [...closure.keys()] };
}

/** Whether no gc, as far as we know, drops the entry. */
const isLasting = (hashPart: HashPart, { reader }: AssertOptions): boolean =>
  reader.has(hashPart) && !reader.isAboutToGo(hashPart);

/** The entries that `hashParts` reach in the cache, or among what was dropped, each once. */
function* cachedClosure({ reader, hashParts, dropped }: AssertOptions): Generator<FoundEntry> {
  const seen = new Set<HashPart>(hashParts);
  const open = [...seen];
  for (let hashPart = open.pop(); hashPart !== undefined; hashPart = open.pop()) {
    const found = reader.findAsserted(hashPart) ?? (reader.has(hashPart) ? undefined : dropped?.find(hashPart));
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

/** Undefined when a segment that is dead already has been deleted. */
async function fetchLayers(
  tag: string,
  { store, reader, signal }: AssertOptions,
): Promise<Map<Digest, Descriptor> | undefined> {
  const what = `segment ${tag} of ${store.name}`;
  try {
    const { image } = await fetchSegmentImage(tag, reader.view, { store, signal });
    return new Map(image.layers.map((layer) => [layer.digest, layer]));
  } catch (error) {
    if (isNixcacheError(error, 'ERR_NOT_FOUND') && reader.view?.live.replaced.has(tag)) return undefined;
    throw readError(error, `${what} (${messageOf(error)})`);
  }
}
