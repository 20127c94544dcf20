/** Damages what lies in a store, behind the back of its interface. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseTag } from '../../src/cache-index/tags.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { type Digest, hexOf } from '../../src/oci/digest.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { decodeImageManifest, type ImageManifest } from '../../src/oci/manifest.ts';
import { MemoryStore } from './memory-store.ts';
import { tempDir } from './temp-dir.ts';

export interface Vandal {
  readonly store: ContentStore;
  /** Removes the bytes of a blob or manifest; its tag stays. */
  remove(digest: Digest): Promise<void>;
  /** Puts what `change` makes of the bytes in their place. */
  alter(digest: Digest, change: (bytes: Buffer) => Buffer): Promise<void>;
}

/** The same length, another byte in the middle. */
export const flipped = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes);
  const at = copy.length >> 1;
  copy[at] = (copy[at] ?? 0) ^ 0xff;
  return copy;
};

export const truncated = (bytes: Buffer): Buffer => bytes.subarray(0, bytes.length - 1);

export function memoryVandal(): Vandal {
  const store = new MemoryStore();
  return {
    store,
    async remove(digest) {
      store.blobs.delete(digest);
      store.manifests.delete(digest);
    },
    async alter(digest, change) {
      const blob = store.blobs.get(digest);
      if (blob) store.blobs.set(digest, change(blob));
      const manifest = store.manifests.get(digest);
      if (manifest) store.manifests.set(digest, { ...manifest, bytes: change(manifest.bytes) });
    },
  };
}

async function layoutVandal(): Promise<Vandal> {
  const path = await tempDir();
  const file = (digest: Digest): string => join(path, 'blobs/sha256', hexOf(digest));
  return {
    store: await LayoutStore.open(path, { create: true }),
    remove: (digest) => rm(file(digest)),
    async alter(digest, change) {
      await writeFile(file(digest), change(await readFile(file(digest))));
    },
  };
}

export const vandals: readonly (readonly [string, () => Promise<Vandal>])[] = [
  ['a memory store', async () => memoryVandal()],
  ['an image layout', layoutVandal],
];

/** Tags of a kind, oldest first. */
export const tagsOf = async (store: ContentStore, kind: 'segment' | 'checkpoint' | 'record'): Promise<string[]> =>
  (await store.listTags()).filter((tag) => parseTag(tag)?.kind === kind).sort();

/** A segment's manifest, and its descriptor. */
export async function segmentAt(
  store: ContentStore,
  tag: string,
): Promise<{ readonly manifest: ImageManifest; readonly descriptor: Descriptor }> {
  const stored = await store.fetchManifest(tag);
  if (!stored) throw new Error(`${tag} is not there`);
  return { manifest: decodeImageManifest(stored.bytes, tag), descriptor: stored.descriptor };
}
