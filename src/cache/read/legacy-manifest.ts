/**
 * Telling an older cache by its `cache-index`. In the layout of cmspam/nixcache-oci it is an image manifest whose one
 * layer is a JSON index, and it is the only tag: `src/legacy/` reads it. Source: cmspam/nixcache-oci
 * lib/cache-builder.sh.
 */
import type { StoredManifest } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { sniffManifest } from '../../oci/layout/references.ts';
import { IMAGE_MANIFEST } from '../../oci/manifest.ts';

/** Media type of the JSON index. */
export const LEGACY_INDEX = 'application/vnd.nix.cache.index.v1+json';

/** The JSON index that `manifest`, the holder of the tag `cache-index`, points at; undefined for another layout. */
export function legacyIndexOf(manifest: StoredManifest): Descriptor | undefined {
  if (manifest.descriptor.mediaType !== IMAGE_MANIFEST) return undefined;
  return sniffManifest(manifest.bytes)?.blobs.find(({ mediaType }) => mediaType === LEGACY_INDEX);
}
