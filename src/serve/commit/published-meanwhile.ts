/** What the cache, read anew, has by now of what waits: with other contents it stays as it is, for others rely on it. */
import type { IndexReader } from '../../cache/read/index-reader.ts';
import type { CallOptions } from '../../call-options.ts';
import { isSameSigned } from '../../nix/signature.ts';
import { hashPartOf } from '../../nix/store-path.ts';
import { isSeen, type PendingPath } from '../upload/pending-paths.ts';
import type { Uploads } from '../upload/uploads.ts';

export interface OutdoneOptions extends CallOptions {
  readonly uploads: Uploads;
  /** Was refreshed. */
  readonly reader: IndexReader;
}

/** Lets go of what the cache has, and of what it has otherwise. */
export async function letGoOfPublished(options: OutdoneOptions): Promise<void> {
  const { uploads, reader, signal } = options;
  const waiting = uploads.uncommitted();
  const hashParts = waiting.map(({ narInfo }) => hashPartOf(narInfo.path));
  await reader.loadLeftOut(hashParts, Number.POSITIVE_INFINITY, { signal });
  // What an earlier process committed before it ended is there already.
  uploads.committed(waiting.filter((each) => isSeen(each, reader.findEntry(hashPartOf(each.narInfo.path)))));
  for (const path of uploads.uncommitted()) {
    const published = reader.findEntry(hashPartOf(path.narInfo.path))?.narInfo;
    if (published === undefined || !uploads.isServed(published) || isSameSigned(published, path.narInfo)) continue;
    await uploads.drop(path, `${reader.name} has it with other contents, which others published first: those stay`);
  }
  await letGoOfRealisations(options);
}

/** A strict reader does not know all: that which serves does, once it was refreshed. */
async function letGoOfRealisations({ uploads, reader }: OutdoneOptions): Promise<void> {
  const waiting = uploads.uncommitted().filter(({ realisations }) => realisations.length > 0);
  if (waiting.length === 0) return;
  await uploads.refresh();
  for (const path of waiting) {
    const others = new Map<string, string>();
    for (const { id, outPath } of path.realisations) {
      const published = await publishedAs(id, { uploads, reader });
      if (published !== undefined && published !== outPath) others.set(id, published);
    }
    const [first] = others;
    if (first === undefined) continue;
    const reason = `its realisation ${first[0]} is ${first[1]} in ${reader.name}, which others published first: that stays`;
    await uploads.dropRealisations(path, new Set(others.keys()), reason);
  }
}

async function publishedAs(id: string, { uploads, reader }: OutdoneOptions): Promise<PublishedPath | undefined> {
  const found = reader.findRealisation(id) ?? (await uploads.findPublishedRealisation(id));
  return found !== undefined && uploads.isServed(found.entry.narInfo) ? found.realisation.outPath : undefined;
}

type PublishedPath = PendingPath['realisations'][number]['outPath'];
