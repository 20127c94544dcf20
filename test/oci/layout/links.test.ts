/** Nothing outside of a layout is read, written or deleted through it, and nothing in it makes its readers wait. */
import { mkdir, readdir, readFile, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { noise, opener, readAll } from '../../support/bytes.ts';
import { ODD_KINDS, placeOddFile } from '../../support/odd-files.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { ageBlobs, blobPath, newLayout, push, pushTagged } from './layouts.ts';

/** A directory that is none of the cache's business, with an old file in it. */
async function elsewhere(): Promise<string> {
  const path = await tempDir();
  await writeFile(join(path, 'precious'), 'mine');
  await utimes(join(path, 'precious'), 0, 0);
  return path;
}

describe.each(ODD_KINDS)('a %s in the place of a blob', (kind) => {
  it('is not served, counts as absent, and is replaced by the next push', async () => {
    const { path, store } = await newLayout();
    const bytes = noise(100, 'blob');
    const outside = join(await elsewhere(), 'precious');
    await writeFile(outside, bytes); // the right bytes, but not the cache's
    await utimes(outside, 0, 0);
    const blob = await push(store, bytes);
    await placeOddFile(blobPath(path, blob), kind, outside);
    expect(await store.hasBlob(blob)).toBe(false);
    await expect(store.fetchBlob(blob)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await expect(store.fetchBlob(blob, { range: { offset: 0, length: 1 } })).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
    });
    expect(await store.resolve(blob.digest)).toBeUndefined();
    await ageBlobs(path).catch(() => undefined);
    const pushing = store.pushBlob(blob, opener(bytes));
    if (kind === 'directory') await expect(pushing).rejects.toMatchObject({ code: 'ERR_IO' });
    else {
      expect(await pushing).toBe('pushed');
      expect(await readAll(await store.fetchBlob(blob))).toEqual(bytes);
    }
    expect(await readFile(outside)).toEqual(bytes);
  });

  it('does not hold up a sweep, and goes without what it leads to', async () => {
    const { path, store } = await newLayout();
    const outside = await elsewhere();
    const [orphan, next] = [await push(store, noise(100, 'a')), await push(store, noise(100, 'b'))];
    await ageBlobs(path);
    await placeOddFile(blobPath(path, orphan), kind, join(outside, 'precious'));
    await store.sweep({ graceSeconds: 0 });
    expect(await store.hasBlob(next)).toBe(false);
    expect(await readFile(join(outside, 'precious'), 'utf8')).toBe('mine');
  });

  it('in the place of a manifest is an error that names it', async () => {
    const { path, store } = await newLayout();
    const [manifest] = await pushTagged(store, 'tag');
    await placeOddFile(blobPath(path, manifest), kind, join(await elsewhere(), 'precious'));
    await expect(store.fetchManifest('tag')).rejects.toMatchObject({ code: 'ERR_INDEX' });
    await expect(store.sweep({ graceSeconds: 0 })).rejects.toMatchObject({ code: 'ERR_INDEX' });
  });
});

describe.each(['.ingest', 'blobs', 'blobs/sha256'])('%s as a link', (name) => {
  it('stops readers and writers, and nothing is deleted or written behind it', async () => {
    const { path, store } = await newLayout();
    await pushTagged(store, 'tag');
    const outside = await elsewhere();
    await rename(join(path, name), join(outside, 'moved'));
    await symlink(outside, join(path, name));
    const refused = { code: 'ERR_IO', message: expect.stringMatching(/is a symbolic link/) };
    await expect(LayoutStore.open(path, { create: false })).rejects.toMatchObject(refused);
    await expect(LayoutStore.open(path, { create: true })).rejects.toMatchObject(refused);
    await expect(store.sweep({ graceSeconds: 0 })).rejects.toMatchObject(refused);
    await expect(push(store, noise(10, 'new'))).rejects.toMatchObject(refused);
    await expect(store.ingestDirectory()).rejects.toMatchObject(refused);
    expect((await readdir(outside)).sort()).toEqual(['moved', 'precious']);
  });
});

describe.each(['index.json', 'oci-layout', '.index.lock'])('%s', (name) => {
  it.each(ODD_KINDS)('as a %s is an error that names it, and keeps nobody waiting', async (kind) => {
    const { path, store } = await newLayout();
    await pushTagged(store, 'tag');
    const outside = await elsewhere();
    await placeOddFile(join(path, name), kind, join(outside, 'precious'));
    const manifest = encodeEmpty();
    const writing = (async () => {
      const opened = await LayoutStore.open(path, { create: true });
      await opened.pushManifest('new', IMAGE_MANIFEST, manifest);
    })();
    await expect(writing).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_(IO|INDEX|USAGE)$/),
      message: expect.stringContaining(name === 'oci-layout' && kind === 'dangling link' ? path : name),
    });
    expect(await readdir(outside)).toEqual(['precious']);
  });
});

const encodeEmpty = (): Buffer => Buffer.from('{"schemaVersion":2,"manifests":[]}');

describe('what is allowed', () => {
  it('is a layout that is itself reached through a link', async () => {
    const { path, store } = await newLayout();
    await pushTagged(store, 'tag');
    const link = join(await tempDir(), 'link');
    await symlink(path, link);
    const linked = await LayoutStore.open(link, { create: true });
    expect(await linked.listTags()).toEqual(['tag']);
    await pushTagged(linked, 'more');
    await ageBlobs(path);
    expect(await linked.sweep({ graceSeconds: 0 })).toEqual({ blobs: 0, bytes: 0 });
    expect((await store.listTags()).sort()).toEqual(['more', 'tag']);
  });

  it('is anything at all in the ingest directory, whose leftovers a sweep removes without following them', async () => {
    const { path, store } = await newLayout();
    const outside = await elsewhere();
    await mkdir(join(outside, 'inner'));
    const ingest = await store.ingestDirectory();
    for (const [n, kind] of ODD_KINDS.entries()) await placeOddFile(join(ingest, `left-${n}`), kind, outside);
    await placeOddFile(join(ingest, `doomed-${'0'.repeat(64)}`), 'link', join(outside, 'precious'));
    await store.sweep({ graceSeconds: 0 });
    expect((await readdir(outside)).sort()).toEqual(['inner', 'precious']);
    expect(await readdir(join(path, 'blobs', 'sha256'))).toEqual([]);
  });
});
