/** Opens what an end-to-end test's cache reference names, to look into it without the command line. */
import type { HttpFetch } from '../../src/http/http-fetch.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';

/** `oci:PATH`, or `host/repository` without credentials. */
export async function openCache(reference: string, http: HttpFetch): Promise<ContentStore> {
  if (reference.startsWith('oci:')) return LayoutStore.open(reference.slice('oci:'.length), { create: false });
  const [, host = '', repository = ''] = /^([^/]+)\/(.+)$/.exec(reference) ?? [];
  return new RemoteRepository({ host, repository, http, credentials: async () => undefined });
}
