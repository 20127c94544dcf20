/** Small things that would become large ones. */
import { zstdCompressSync } from 'node:zlib';
import { segmentTag } from '../../src/cache-index/tags.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import type { MemoryStore } from './memory-store.ts';

const MIB = 1024 * 1024;

/** Entries blobs of a few KiB, by what is wrong with them. */
export const ENTRIES_BOMBS: Readonly<Record<string, () => Buffer>> = {
  'nothing but newlines': () => zstdCompressSync(Buffer.alloc(120 * MIB, '\n')),
  'one line that unpacks to far too much': () => zstdCompressSync(Buffer.alloc(500 * MIB, 'x')),
  'far too many entries': () => zstdCompressSync(Buffer.alloc(100 * MIB, 'StorePath: /nix/store/x\n\n')),
};

/** Adds a segment whose entries blob is `blob`. */
export async function addSegment(store: MemoryStore, blob: Buffer, at: Date): Promise<string> {
  const tag = segmentTag(digestOf(blob), at);
  const config = Buffer.from('{}');
  for (const bytes of [blob, config]) store.blobs.set(digestOf(bytes), bytes);
  const descriptor = (bytes: Buffer): { mediaType: string; digest: Digest; size: number } => ({
    ...{ mediaType: 'application/octet-stream', digest: digestOf(bytes), size: bytes.length },
  });
  const manifest = {
    ...{ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config: descriptor(config), layers: [descriptor(blob)] },
    annotations: { tag },
  };
  await store.pushManifest(tag, IMAGE_MANIFEST, Buffer.from(JSON.stringify(manifest)));
  return tag;
}
