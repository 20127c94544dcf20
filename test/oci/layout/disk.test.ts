/** A full disk and a read-only one, as tmpfs mounts of the test's own. Needs root. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { noise, readAll } from '../../support/bytes.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { ageBlobs, newLayout, push, pushTagged } from './layouts.ts';

describe('a disk that does not take our writes', () => {
  it('is named when it is full, and nothing half-written stays', async () => {
    const path = await mountTmpfs('size=1m');
    const store = await LayoutStore.open(join(path, 'cache'), { create: true });
    await pushTagged(store, 'kept');
    const big = noise(3 * 1024 * 1024, 'big');
    await expect(push(store, big)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringMatching(/write .*cache\/\.ingest\/.*the disk is full/),
    });
    expect(await readdir(await store.ingestDirectory())).toEqual([]);
    // Still whole, and, with little room left, still writable.
    expect(await store.listTags()).toEqual(['kept']);
    await pushTagged(store, 'small');
    expect((await store.listTags()).sort()).toEqual(['kept', 'small']);
  });

  it('keeps the old index when the new one has no room', async () => {
    const path = await mountTmpfs('size=256k');
    const store = await LayoutStore.open(join(path, 'cache'), { create: true });
    await pushTagged(store, 'kept');
    const manifest = (await store.fetchManifest('kept'))?.bytes ?? Buffer.alloc(0);
    await writeFile(join(path, 'filler'), Buffer.alloc(1024 * 1024)).catch(() => undefined);
    await expect(store.pushManifest('new', IMAGE_MANIFEST, manifest)).rejects.toMatchObject({ code: 'ERR_IO' });
    expect(await (await LayoutStore.open(join(path, 'cache'), { create: false })).listTags()).toEqual(['kept']);
  });

  it('is swept when no file more fits on it', async () => {
    const path = await mountTmpfs('nr_inodes=40');
    const cache = join(path, 'cache');
    const store = await LayoutStore.open(cache, { create: true });
    await push(store, noise(1000, 'orphan'));
    await ageBlobs(cache);
    const young = await push(store, noise(1000, 'young'));
    const fill = async (): Promise<void> => {
      for (let at = 0; at < 40; at += 1) await writeFile(join(path, `filler-${at}`), '');
    };
    await expect(fill()).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 1, bytes: 1000 });
    expect(await store.hasBlob(young)).toBe(true);
  });

  it('can be read when it is read-only, and says so on a write', async () => {
    const path = await mountTmpfs('size=1m');
    const cache = join(path, 'cache');
    const [, , layer] = await pushTagged(await LayoutStore.open(cache, { create: true }), 'kept');
    await execa('mount', ['-o', 'remount,ro', path]);
    const store = await LayoutStore.open(cache, { create: false });
    expect(await store.listTags()).toEqual(['kept']);
    expect(await store.hasBlob(layer)).toBe(true);
    expect(await readAll(await store.fetchBlob(layer))).toHaveLength(500);
    await expect(push(store, noise(10, 'new'))).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('read-only'),
    });
    const manifest = (await store.fetchManifest('kept'))?.bytes ?? Buffer.alloc(0);
    const pushing = store.pushManifest('new', IMAGE_MANIFEST, manifest);
    await expect(pushing).rejects.toMatchObject({ code: 'ERR_IO', message: expect.stringContaining(cache) });
  });

  it('says which file may not be read', async () => {
    const { path } = await newLayout();
    await rm(join(path, 'index.json'));
    await mkdir(join(path, 'index.json'));
    const opening = LayoutStore.open(path, { create: false });
    await expect(opening).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining(join(path, 'index.json')),
    });
  });
});

/** A tmpfs, gone when the test is over. */
async function mountTmpfs(options: string): Promise<string> {
  const path = await tempDir();
  await execa('mount', ['-t', 'tmpfs', '-o', options, 'nixcache-test', path]);
  onTestFinished(async () => {
    await execa('umount', [path]);
  });
  return path;
}
