/** Whether all that a path refers to is where its readers find it, under the name that the path says. */
import type { IndexReader } from '../../cache/read/index-reader.ts';
import type { CallOptions } from '../../call-options.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { PendingPath } from '../upload/pending-paths.ts';
import type { Uploads } from '../upload/uploads.ts';

export interface LackingOptions extends CallOptions {
  readonly uploads: Uploads;
  readonly reader: IndexReader;
}

/** What `path` lacks beside what is `ready`, for whoever uploaded it; undefined when nothing. */
export async function lackingOf(
  { narInfo: { path, references } }: PendingPath,
  ready: ReadonlyMap<HashPart, PendingPath>,
  options: LackingOptions,
): Promise<string | undefined> {
  const { uploads, reader, signal } = options;
  for (const reference of references) {
    const hashPart = hashPartOf(reference);
    const near = hashPart === hashPartOf(path) ? path : ready.get(hashPart)?.narInfo.path;
    const name = near === undefined ? await nameInCache(hashPart, options) : baseNameOf(near);
    if (name === reference) continue;
    const misnamed = `it refers to ${reference}, and what has that hash is called`;
    if (name !== undefined) return `${misnamed} ${name}`;
    const found = await uploads.findUpstream(hashPart, { signal });
    if (found === 'unknown') return `it refers to ${reference}, and an upstream does not say whether it has that`;
    if (found === undefined) return `it refers to ${reference}, which is not in ${reader.name} or an upstream`;
    if (baseNameOf(found.path) !== reference) return `${misnamed} ${baseNameOf(found.path)}`;
  }
  return undefined;
}

/** Of what the reader left out it knows no names: those that serve sees are asked for first. */
async function nameInCache(
  hashPart: HashPart,
  { uploads, reader, signal }: LackingOptions,
): Promise<BaseName | undefined> {
  if (!reader.has(hashPart)) return undefined;
  const known = reader.findEntry(hashPart) ?? (await uploads.findPublished(hashPart));
  if (known !== undefined) return baseNameOf(known.narInfo.path);
  await reader.loadLeftOut([hashPart], Number.POSITIVE_INFINITY, { signal });
  const loaded = reader.findEntry(hashPart);
  return loaded && baseNameOf(loaded.narInfo.path);
}
