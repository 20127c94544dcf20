/** Our layouts in the hands of skopeo (containers/image), and its layouts in ours. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { decodeImageManifest, encodeManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { newLayout, push, pushTagged } from '../oci/layout/layouts.ts';
import { describeBytes, noise, opener, readAll } from '../support/bytes.ts';
import { tempDir } from '../support/temp-dir.ts';

/** The policy is given, for a machine may have none in /etc/containers. */
async function skopeo(...args: readonly string[]): Promise<Buffer> {
  const command = ['--insecure-policy', ...args];
  try {
    const { stdout } = await execa('skopeo', command, {
      encoding: 'buffer',
      stripFinalNewline: false,
      timeout: 30_000,
    });
    return Buffer.from(stdout);
  } catch (cause) {
    throw new Error('skopeo failed; if it is missing: apt-get install skopeo', { cause });
  }
}

/** An image of the kind that skopeo copies: it looks into the config for the layers. */
async function pushImage(store: LayoutStore, tag: string): Promise<Buffer> {
  // Compressed already, or skopeo would compress it and write another manifest.
  const compressed = gzipSync(noise(3000, tag));
  const layer = { ...(await push(store, compressed)), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' };
  const content = {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digestOf(noise(3000, tag))] },
  };
  const config = await push(store, Buffer.from(JSON.stringify(content)));
  const bytes = encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
    layers: [layer],
  });
  await store.pushManifest(tag, IMAGE_MANIFEST, bytes);
  return bytes;
}

describe('skopeo', () => {
  it('reads each manifest and index by its tag, byte for byte', async () => {
    const { path, store } = await newLayout();
    const [segment] = await pushTagged(store, 'seg-1');
    const index = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [segment] });
    await store.pushManifest('cache-index', IMAGE_INDEX, index);
    expect(await skopeo('inspect', '--raw', `oci:${path}:seg-1`)).toEqual((await store.fetchManifest('seg-1'))?.bytes);
    expect(await skopeo('inspect', '--raw', `oci:${path}:cache-index`)).toEqual(index);
  });

  it('copies from our layout to a new one that we read, and into ours without harm', async () => {
    const { path, store } = await newLayout();
    await pushTagged(store, 'kept');
    const image = await pushImage(store, 'image');
    const copy = join(await tempDir(), 'copy');
    await skopeo('copy', `oci:${path}:image`, `oci:${copy}:copied`);
    const copied = await LayoutStore.open(copy, { create: false });
    expect(await copied.listTags()).toEqual(['copied']);
    const manifest = await copied.fetchManifest('copied');
    expect(manifest?.bytes).toEqual(image);
    const { config, layers } = decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), 'copied');
    for (const blob of [config, ...layers]) await readAll(await copied.fetchBlob(blob));

    await skopeo('copy', `oci:${copy}:copied`, `oci:${path}:again`);
    expect((await store.listTags()).sort()).toEqual(['again', 'image', 'kept']);
    await pushTagged(store, 'after');
    expect((await skopeo('inspect', '--raw', `oci:${path}:again`)).equals(image)).toBe(true);
  });

  it('makes layouts that we publish into and sweep', async () => {
    const { path, store } = await newLayout();
    await pushImage(store, 'image');
    const made = join(await tempDir(), 'made');
    await skopeo('copy', `oci:${path}:image`, `oci:${made}:image`);
    const ours = await LayoutStore.open(made, { create: true });
    const orphan = noise(50, 'orphan');
    await ours.pushBlob(describeBytes(orphan), opener(orphan));
    await pushTagged(ours, 'ours');
    await ours.sweep({ graceSeconds: -1 });
    expect(await readdir(join(made, 'blobs', 'sha256'))).toHaveLength(6);
    await skopeo('copy', `oci:${made}:image`, `oci:${join(await tempDir(), 'out')}:image`);
  });
});
