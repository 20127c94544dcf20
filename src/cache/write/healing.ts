/** What to do when a store has lost blobs between their upload and the commit of what needs them. */
import pLimit from 'p-limit';
import type { CallOptions } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { type BackedEntry, isPathFault, type PendingEntry } from './incoming.ts';
import { CONCURRENT_REQUESTS, CONCURRENT_UPLOADS } from './limits.ts';

/**
 * Each of `pending` as it is, or stored anew where the store lacks blobs of its form in `entries`; the error where that is
 * not possible, which is then that path's alone.
 *
 * @throws what is the store's or the source's trouble
 */
export async function storeAgain(
  pending: readonly PendingEntry[],
  entries: readonly BackedEntry[],
  { store, signal }: CallOptions & { readonly store: ContentStore },
): Promise<(PendingEntry | Error)[]> {
  const requests = pLimit(CONCURRENT_REQUESTS);
  const uploads = pLimit(CONCURRENT_UPLOADS);
  const asked = new Map<Digest, Promise<boolean>>();
  const isThere = (blob: Descriptor): Promise<boolean> => {
    const held = asked.get(blob.digest) ?? requests(() => store.hasBlob(blob, { signal }));
    asked.set(blob.digest, held);
    return held;
  };
  const heal = async (each: PendingEntry, blobs: readonly Descriptor[]): Promise<PendingEntry | Error> => {
    const there = await Promise.all(blobs.map(isThere));
    const lost = blobs.filter((_, i) => !there[i]);
    if (lost.length === 0) return each;
    const { again } = each;
    if (!again) return new NixcacheError('ERR_NOT_FOUND', `${store.name} has lost its bytes`);
    try {
      return await uploads(() => again(lost));
    } catch (error) {
      if (isPathFault(error)) return error;
      throw error;
    }
  };
  return Promise.all(pending.map((each, i) => heal(each, entries[i]?.blobs ?? [])));
}
