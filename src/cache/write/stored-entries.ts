/** What of a writer's work is stored when it has to end early: closed, so that it can be committed. */
import { type BaseName, baseNameOf } from '../../nix/store-path.ts';
import type { BackedEntry, PendingEntry } from './incoming.ts';
import { MAX_SEGMENT_ENTRIES, MAX_SEGMENT_REFERENCES } from './limits.ts';
import type { References } from './losses.ts';

/** What was to be added to a cache. */
export interface UnfinishedEntry {
  readonly info: References;
  /** Settles; rejects, or gives undefined, where its bytes were not taken. */
  readonly pending: Promise<PendingEntry | undefined>;
}

/**
 * Those of `unfinished` whose bytes are all stored, without those that refer to one whose bytes are not.
 *
 * @param unfinished references first; what comes twice counts once
 * @param isLacking whether it refers to what was left out before
 */
export async function storedEntries(
  unfinished: readonly UnfinishedEntry[],
  isLacking: (info: References) => boolean,
): Promise<BackedEntry[]> {
  const missing = new Set<BaseName>();
  const stored = new Map<BaseName, BackedEntry>();
  for (const { info, pending } of unfinished) {
    const name = baseNameOf(info.path);
    if (stored.has(name)) continue;
    const isClosed = !isLacking(info) && !info.references.some((each) => each !== name && missing.has(each));
    const backed = isClosed ? await pending.then((taken) => taken?.resolve()).catch(() => undefined) : undefined;
    if (backed) stored.set(name, backed);
    else missing.add(name);
  }
  return [...stored.values()];
}

/** `entries` in the order in which they come, as many together as one segment takes. */
export function segmentGroups(entries: readonly BackedEntry[], maxBlobs: number): BackedEntry[][] {
  const groups: BackedEntry[][] = [];
  let layers = new Set<string>();
  let references = 0;
  for (const backed of entries) {
    const added = new Set(backed.blobs.map(({ digest }) => digest).filter((digest) => !layers.has(digest)));
    const more = backed.entry.narInfo.references.length;
    const open = groups.at(-1);
    const hasRoom =
      open !== undefined &&
      open.length < MAX_SEGMENT_ENTRIES &&
      references + more <= MAX_SEGMENT_REFERENCES &&
      layers.size + added.size <= maxBlobs;
    if (hasRoom) open.push(backed);
    else {
      groups.push([backed]);
      layers = new Set();
      references = 0;
    }
    references += more;
    for (const { digest } of backed.blobs) layers.add(digest);
  }
  return groups;
}
