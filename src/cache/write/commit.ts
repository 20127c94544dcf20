/**
 * Makes what was stored visible. A segment becomes visible by one PUT, that of its manifest under its own tag, after
 * everything it names is stored.
 */

import type { EncodedCheckpoint } from '../../cache-index/checkpoint.ts';
import type { EncodedSegment } from '../../cache-index/segment.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import { bytesContent } from '../../oci/bytes-content.ts';
import type { ContentStore, StoredManifest } from '../../oci/content-store.ts';
import { IMAGE_INDEX, IMAGE_MANIFEST } from '../../oci/manifest.ts';

/**
 * Stores `segment`; its manifest's PUT is the commit.
 *
 * @throws {NixcacheError} ERR_BLOB_UNKNOWN when a blob that its entries need is not there (any more)
 */
export async function commitSegment(store: ContentStore, segment: EncodedSegment, options: CallOptions): Promise<void> {
  await Promise.all(
    segment.blobs.map(({ descriptor, bytes }) => store.pushBlob(descriptor, bytesContent(bytes), options)),
  );
  await store.pushManifest(segment.tag, IMAGE_MANIFEST, segment.manifest, options);
}

/**
 * Stores the record of `checkpoint`, whose segments have been committed before. Whoever sees a record without its checkpoint
 * lists anew what it relies on and the checkpoint will drop.
 */
export async function announceCheckpoint(
  store: ContentStore,
  checkpoint: EncodedCheckpoint,
  options: CallOptions,
): Promise<void> {
  for (const blob of [checkpoint.lookup, checkpoint.config]) {
    if (blob) await store.pushBlob(blob.descriptor, bytesContent(blob.bytes), options);
  }
  await store.pushManifest(checkpoint.record.tag, IMAGE_MANIFEST, checkpoint.record.bytes, options);
}

/** Stores `checkpoint`, which was announced before; its index's PUT makes what it replaces dead. */
export async function commitCheckpoint(
  store: ContentStore,
  checkpoint: EncodedCheckpoint,
  options: CallOptions,
): Promise<void> {
  await store.pushManifest(checkpoint.tag, IMAGE_INDEX, checkpoint.index, options);
}

/**
 * Stores a manifest as it is under `tag`: another cache's, or one whose tag was lost.
 *
 * @param again called once when the store has not, or no longer, what the manifest names: stores that anew
 * @throws {NixcacheError} ERR_BLOB_UNKNOWN
 */
export async function commitManifest(
  store: ContentStore,
  tag: string,
  { descriptor, bytes }: StoredManifest,
  { signal, again }: CallOptions & { readonly again?: (() => Promise<void>) | undefined },
): Promise<void> {
  try {
    await store.pushManifest(tag, descriptor.mediaType, bytes, { signal });
  } catch (error) {
    if (!again || !isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw error;
    await again();
    await store.pushManifest(tag, descriptor.mediaType, bytes, { signal });
  }
}
