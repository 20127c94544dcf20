/** The cache of a command that looks at it, read and ready to be asked. */
import { openDirectoryIndex } from '../../cache/disk/directory-index.ts';
import { IndexReader } from '../../cache/read/index-reader.ts';
import { type Catalog, readCatalog } from '../../catalog/catalog.ts';
import { ownIndexDirectory, resolveCache } from '../../config/cache-reference.ts';
import type { Sources } from '../../config/resolve.ts';
import { HttpClient } from '../../http/client.ts';
import type { ContentStore } from '../../oci/content-store.ts';
import type { CommandContext, CommonFlags } from '../context.ts';
import { openStore, readCredentials } from './open-store.ts';
import { convertedStore } from './open-writable.ts';
import { Opened } from './opened.ts';

export interface OpenCatalog extends AsyncDisposable {
  readonly store: ContentStore;
  readonly catalog: Catalog;
}

export interface OpenCatalogOptions {
  /** For commands that write: whatever cannot be read is an error. */
  readonly strict: boolean;
}

/** @throws {NixcacheError} when the cache cannot be read */
export async function openCatalog(
  sources: Sources<CommonFlags>,
  context: CommandContext,
  { strict }: OpenCatalogOptions,
): Promise<OpenCatalog> {
  const { output, signal } = context;
  const onWarning = (message: string): void => output.warn(message);
  const cache = resolveCache(sources);
  const credentials = await readCredentials(sources.flags, context);
  await using opened = new Opened();
  const http = opened.add(new HttpClient(), (client) => client.destroy());
  const opening = await openStore(cache, context, { create: false, http, credentials });
  const store: ContentStore = await convertedStore<ContentStore>(opening, context, { dryRun: !strict, reads: !strict });
  const index = await openDirectoryIndex(ownIndexDirectory(sources, cache.name), onWarning);
  const reader = opened.add(await IndexReader.open({ store, index, strict, onWarning }), (each) => each.close());
  const catalog = await readCatalog({ store, reader, signal, onWarning });
  const kept = opened.move();
  return { store, catalog, [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose]() };
}
