import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { vi } from 'vitest';
import type { Descriptor } from '../../../src/oci/descriptor.ts';
import { hexOf } from '../../../src/oci/digest.ts';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { encodeManifest, IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { describeBytes, noise, opener } from '../../support/bytes.ts';
import { tempDir } from '../../support/temp-dir.ts';

const YEAR_MS = 365 * 86_400_000;

/** A new layout in a directory of its own. */
export async function newLayout(): Promise<{ path: string; store: LayoutStore }> {
  const path = join(await tempDir(), 'cache');
  return { path, store: await LayoutStore.open(path, { create: true }) };
}

export const blobPath = (path: string, { digest }: Pick<Descriptor, 'digest'>): string =>
  join(path, 'blobs', 'sha256', hexOf(digest));

export async function push(store: LayoutStore, bytes: Buffer): Promise<Descriptor> {
  const descriptor = describeBytes(bytes);
  await store.pushBlob(descriptor, opener(bytes));
  return descriptor;
}

/** Pushes a manifest with one layer, and gives all three descriptors. */
export async function pushTagged(
  store: LayoutStore,
  tag: string,
): Promise<readonly [Descriptor, Descriptor, Descriptor]> {
  const layer = await push(store, noise(500, tag));
  const config = await push(store, Buffer.from(JSON.stringify({ tag })));
  const bytes = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config, layers: [layer] });
  return [await store.pushManifest(tag, IMAGE_MANIFEST, bytes), config, layer];
}

/** Makes all files in a directory a year old. */
export async function age(path: string): Promise<void> {
  const then = new Date(Date.now() - YEAR_MS);
  for (const name of await readdir(path)) await utimes(join(path, name), then, then);
}

export const ageBlobs = (path: string): Promise<void> => age(join(path, 'blobs', 'sha256'));

/** Runs `use` as on a machine whose clock is `offMs` ahead: files that it writes still get the time of the file system. */
export async function withClock<T>(offMs: number, use: () => Promise<T>): Promise<T> {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + offMs });
  try {
    return await use();
  } finally {
    vi.useRealTimers();
  }
}
