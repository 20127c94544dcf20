/** The cache of a command that looks at it, read and ready to be asked. */

import { assertCache } from '../../cache/read/view.ts';
import { type Catalog, readCatalog } from '../../catalog/catalog.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { Session } from './session.ts';

export interface OpenCatalog {
  readonly store: ContentStore;
  readonly catalog: Catalog;
}

/** `strict`, for commands that write: whatever cannot be read is an error. @throws {NixcacheError} ERR_NOT_FOUND when there is no cache */
export async function openCatalog(session: Session, { strict }: { readonly strict: boolean }): Promise<OpenCatalog> {
  const { signal } = session.context;
  const store = await session.store();
  const reader = strict
    ? await session.writersReader(store, { dryRun: false })
    : await session.reader(store, { strict, legacy: 'read' });
  const catalog = await readCatalog({ store, reader, signal, onWarning: session.onWarning });
  assertCache(catalog.view, store.name);
  return { store, catalog };
}
