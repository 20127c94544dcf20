/** The cache that a writer works on: one of the older layout is converted first. */

import { ScratchStore } from '../../cache/read/scratch-store.ts';
import { convertLegacy } from '../../cache/write/convert-legacy.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { CommandContext } from '../context.ts';
import { formatCount } from '../ui/format.ts';
import type { Provenance } from './provenance.ts';

export interface ConvertOptions {
  readonly dryRun: boolean;
  readonly reads?: boolean | undefined;
}

/**
 * `store`, in our layout. A dry run, as everyone who only `reads`, gets a view of it in which the conversion has happened,
 * and writes nothing.
 *
 * @throws {NixcacheError} ERR_INDEX when the older index cannot be read: going on would lose its entries
 */
export async function convertStore(
  store: ContentStore,
  { output, signal }: CommandContext,
  provenance: Provenance,
  { dryRun, reads = false }: ConvertOptions,
): Promise<ContentStore> {
  const target = dryRun ? new ScratchStore(store) : store;
  const report = await convertLegacy({
    store: target,
    ...provenance,
    signal,
    onEvent(event) {
      if (event.type === 'warning') output.warn(event.message);
      else if (event.type === 'committed') output.detail(`committed ${event.tag}`);
      else {
        const what = `${store.name} is a cache of cmspam/nixcache-oci with ${formatCount(event.entries, 'entry', 'entries')}`;
        if (reads) output.detail(what);
        else output.info(dryRun ? `${what}: it would be converted first` : `${what}: converting it`);
      }
    },
    now: () => new Date(),
  });
  if (!report) return store;
  if (!dryRun) {
    output.warn(
      `${store.name} was converted: what still reads or writes the older layout (cmspam/nixcache-oci) must move to nixcache`,
    );
  }
  return target;
}
