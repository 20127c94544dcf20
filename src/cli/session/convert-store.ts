/** The cache that a writer works on: one of the older layout is converted first. */

import { legacyIndexOf } from '../../cache/read/legacy-index.ts';
import { convertLegacy } from '../../cache/write/convert-legacy.ts';
import { CACHE_INDEX_TAG } from '../../cache-index/tags.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import { formatCount } from '../../quantity.ts';
import type { CommandContext } from '../context.ts';
import type { Provenance } from './provenance.ts';

/**
 * Has the cache in `store` be of our layout. A dry run only says what would be done: its reader reads the older index.
 *
 * @throws {NixcacheError} ERR_INDEX when the older index cannot be read: going on would lose its entries
 */
export async function convertStore(
  store: ContentStore,
  { output, signal }: CommandContext,
  provenance: Provenance,
  { dryRun, now }: { readonly dryRun: boolean; readonly now: () => Date },
): Promise<void> {
  const what = `${store.name} is a cache of cmspam/nixcache-oci`;
  if (dryRun) {
    const manifest = await store.fetchManifest(CACHE_INDEX_TAG, { signal });
    if (manifest && legacyIndexOf(manifest)) output.info(`${what}: it would be converted first`);
    return;
  }
  const report = await convertLegacy({
    ...{ store, ...provenance, signal },
    onEvent(event) {
      if (event.type === 'warning') output.warn(event.message);
      else if (event.type === 'committed') output.detail(`committed ${event.tag}`);
      else output.info(`${what} with ${formatCount(event.entries, 'entry', 'entries')}: converting it`);
    },
    now,
  });
  if (!report) return;
  output.warn(
    `${store.name} was converted: what still reads or writes the older layout (cmspam/nixcache-oci) must move to nixcache`,
  );
}
