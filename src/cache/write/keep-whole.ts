/**
 * The looks that a writer takes around its commit. No registry swaps a tag only if nothing else has changed, so a gc may
 * drop what a commit relies on while neither sees the other. Both therefore look again once what they wrote is visible:
 * whoever comes second sees the first, and lists again what would be missing, out of what nobody has deleted yet.
 */
import type { Entry } from '../../cache-index/entry.ts';
import { checkpointOf, parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { IndexReader } from '../read/index-reader.ts';
import { droppedSegments } from '../read/view.ts';
import { findDueEntries } from './asserted-entries.ts';
import type { CacheWriter } from './cache-writer.ts';
import { type BackedEntry, carried, type PendingEntry } from './incoming.ts';

export interface ListAgainOptions extends CallOptions {
  readonly store: ContentStore;
  /** Strict, over the same store. */
  readonly reader: IndexReader;
  readonly writer: CacheWriter;
  /** How to bring an entry whose bytes are gone when it is committed. */
  readonly againOf?: ((backed: BackedEntry) => PendingEntry['again']) | undefined;
  /** As what an entry is listed again, undefined: not at all. Default: as it is. */
  readonly formOf?: ((entry: Entry) => Entry | undefined) | undefined;
  /** The dead segments in which to look for it; default: all that are still there. */
  readonly among?: readonly string[] | undefined;
  /** Keep the times when entries were last asserted, instead of now. */
  readonly keepsTimes?: boolean | undefined;
}

/**
 * Adds to `writer` what of `wanted`, and of what that refers to, no longer is in the cache, or is about to go; what is
 * nowhere any more is returned. `reader` has been refreshed.
 */
export async function listAgain(wanted: readonly HashPart[], options: ListAgainOptions): Promise<HashPart[]> {
  const { store, reader, writer, againOf, keepsTimes, among, signal } = options;
  const formOf = options.formOf ?? ((entry: Entry): Entry => entry);
  const { view } = reader;
  if (!view || wanted.length === 0) return [];
  const tags = wanted.every((hashPart) => reader.has(hashPart)) ? [] : (among ?? droppedSegments(view));
  const dropped = await reader.openDropped(tags, { signal });
  try {
    const asserted = (hashPart: HashPart): number | undefined =>
      keepsTimes === true ? (reader.findAsserted(hashPart) ?? dropped.find(hashPart))?.asserted : undefined;
    const due = await findDueEntries({ store, reader, hashParts: wanted, before: 0, dropped, signal });
    for (const backed of due.entries) {
      const form = formOf(backed.entry);
      if (!form) continue;
      const entry = { ...form, asserted: asserted(hashPartOf(form.narInfo.path)) };
      await writer.add(carried({ ...backed, entry }, { again: againOf?.({ ...backed, entry }) }));
    }
    const found = new Set(due.entries.map(({ entry }) => hashPartOf(entry.narInfo.path)));
    return wanted.filter((hashPart) => !found.has(hashPart) && !reader.has(hashPart));
  } finally {
    dropped.close();
  }
}

export interface KeepWholeOptions extends ListAgainOptions {
  /** All that the commit needs of what the cache has, or had; asked for when a gc was at work. */
  readonly relied: () => Iterable<HashPart>;
  /** Adds to the writer what the cache has no more. */
  readonly pushAgain: (lost: readonly HashPart[]) => Promise<void>;
}

/** Looks at once; more means that gcs are at work all the time. */
const MAX_LOOKS = 8;

/**
 * The look after a commit: returns once all that it relies on is there for good, as far as any gc has announced.
 *
 * @throws {NixcacheError} ERR_INDEX when gcs keep dropping it; what `pushAgain` and a commit throw
 */
export async function keepWhole(options: KeepWholeOptions): Promise<void> {
  for (let look = 1; await restoreVanished(options); look++) {
    if (look === MAX_LOOKS) {
      throw new NixcacheError(
        'ERR_INDEX',
        `${MAX_LOOKS} times a gc dropped from ${options.store.name} what was just written; run this again when no gc is at work`,
      );
    }
    await options.writer.finish();
  }
}

/**
 * The look before a commit, for which the writer then still has to be finished: whether anything was missing.
 *
 * @param isFirst whether also what the view announced already has not been listed again yet
 */
export async function restoreVanished(options: KeepWholeOptions, isFirst = false): Promise<boolean> {
  const { store, reader, writer, relied, pushAgain, signal } = options;
  const tags = await store.listTags({ signal });
  const hasNews = tags.some((tag) => isNews(tag, reader.view?.tags));
  if (hasNews) await reader.refresh({ signal });
  else if (!isFirst || reader.view?.aboutToGo.size === 0) return false;
  const leftOut = new Set([...writer.leftOut.keys()].map(hashPartOf));
  const vanished: HashPart[] = [];
  for (const hashPart of relied()) {
    if (!leftOut.has(hashPart) && (!reader.has(hashPart) || reader.isAboutToGo(hashPart))) vanished.push(hashPart);
  }
  const lost = await listAgain(vanished, options);
  if (lost.length > 0) await pushAgain(lost);
  return vanished.length > 0;
}

/** Whether `tag` says that something is dropped, or will be. */
function isNews(tag: string, known: ReadonlySet<string> | undefined): boolean {
  if (known?.has(tag) === true) return false;
  const kind = parseTag(tag)?.kind;
  return kind === 'checkpoint' || (kind === 'record' && known?.has(checkpointOf(tag)) !== true);
}
