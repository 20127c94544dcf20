import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { encodeManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { describeBytes, noise, opener, readAll } from '../../support/bytes.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { testContentStore } from '../content-store.suite.ts';
import { blobPath, newLayout, push, pushTagged } from './layouts.ts';

testContentStore('LayoutStore', async () => LayoutStore.open(join(await tempDir(), 'cache'), { create: true }));

describe('opening a layout', () => {
  it('makes oci-layout and an empty index.json, in the words of the specification', async () => {
    const { path } = await newLayout();
    expect(JSON.parse(await readFile(join(path, 'oci-layout'), 'utf8'))).toEqual({ imageLayoutVersion: '1.0.0' });
    expect(JSON.parse(await readFile(join(path, 'index.json'), 'utf8'))).toMatchObject({
      schemaVersion: 2,
      manifests: [],
    });
  });

  it('takes an empty directory, and a layout that is there already', async () => {
    const path = await tempDir();
    await pushTagged(await LayoutStore.open(path, { create: true }), 'kept');
    expect(await (await LayoutStore.open(path, { create: true })).listTags()).toEqual(['kept']);
  });

  it('finishes a layout whose creator was killed', async () => {
    const path = await tempDir();
    await mkdir(join(path, 'blobs', 'sha256'), { recursive: true });
    await writeFile(join(path, '.index.lock'), '');
    expect(await (await LayoutStore.open(path, { create: false })).listTags()).toEqual([]);
    await pushTagged(await LayoutStore.open(path, { create: true }), 'kept');
  });

  it('lets many create one at once', async () => {
    const path = join(await tempDir(), 'a', 'b', 'cache');
    const stores = await Promise.all(Array.from({ length: 8 }, () => LayoutStore.open(path, { create: true })));
    await Promise.all(stores.map((store, at) => pushTagged(store, `tag-${at}`)));
    expect(await stores[0]?.listTags()).toHaveLength(8);
  });

  it('refuses to make one among other files', async () => {
    const path = await tempDir();
    await writeFile(join(path, 'letter.txt'), 'dear reader');
    await expect(LayoutStore.open(path, { create: true })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    expect(await readdir(path)).toEqual(['letter.txt']);
  });

  it('reads a path where nothing is as an empty cache, and makes nothing there', async () => {
    const directory = await tempDir();
    const path = join(directory, 'absent');
    const store = await LayoutStore.open(path, { create: false });
    expect(store.name).toBe(`oci:${path}`);
    expect(await store.listTags()).toEqual([]);
    expect(await store.fetchManifest('x')).toBeUndefined();
    expect(await store.hasBlob(describeBytes(noise(3, 'x')))).toBe(false);
    expect(await store.deleteManifest(describeBytes(noise(3, 'x')).digest)).toBe('absent');
    expect(await store.sweep({ graceSeconds: 0 })).toEqual({ blobs: 0, bytes: 0 });
    await expect(push(store, noise(3, 'x'))).rejects.toMatchObject({ code: 'ERR_USAGE' });
    expect(await readdir(directory)).toEqual([]);
    await pushTagged(await LayoutStore.open(path, { create: true }), 'later');
    expect(await store.listTags()).toEqual(['later']);
  });

  it('does not take an empty directory for an empty cache: it may be a mount that failed', async () => {
    const path = await tempDir();
    await expect(LayoutStore.open(path, { create: false })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });
});

describe('a damaged layout is an error and never empty', () => {
  it.each([
    ['is cut off', '{"schemaVersion":2,"manif'],
    ['is empty', ''],
    ['is of another schema', '{"schemaVersion":3,"manifests":[]}'],
    ['is of another type', `{"schemaVersion":2,"mediaType":"${IMAGE_MANIFEST}","manifests":[]}`],
    ['has a descriptor without digest', '{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1}]}'],
    ['is missing', undefined],
  ])('when index.json %s', async (_, text) => {
    const { path, store } = await newLayout();
    await pushTagged(store, 'kept');
    await (text === undefined ? rm(join(path, 'index.json')) : writeFile(join(path, 'index.json'), text));
    const damaged = { code: 'ERR_INDEX', message: expect.stringContaining(join(path, 'index.json')) };
    await expect(store.listTags()).rejects.toMatchObject(damaged);
    await expect(store.resolve('kept')).rejects.toMatchObject(damaged);
    await expect(pushTagged(store, 'new')).rejects.toMatchObject(damaged);
    await expect(store.sweep({ graceSeconds: 0 })).rejects.toMatchObject(damaged);
    await expect(LayoutStore.open(path, { create: true })).rejects.toMatchObject(damaged);
    if (text !== undefined) expect(await readFile(join(path, 'index.json'), 'utf8')).toBe(text);
  });

  it.each(['{"imageLayoutVersion":"2.0.0"}', '{}', 'null', 'x'])('when oci-layout is %s', async (text) => {
    const { path } = await newLayout();
    await writeFile(join(path, 'oci-layout'), text);
    for (const create of [true, false]) {
      await expect(LayoutStore.open(path, { create })).rejects.toMatchObject({ code: 'ERR_INDEX' });
    }
  });

  it('when a tagged manifest is lost', async () => {
    const { path, store } = await newLayout();
    const [manifest] = await pushTagged(store, 'lost');
    await rm(blobPath(path, manifest));
    await expect(store.fetchManifest('lost')).rejects.toMatchObject({ code: 'ERR_INDEX' });
  });

  it('when a manifest or a blob has other bytes', async () => {
    const { path, store } = await newLayout();
    const [manifest, , layer] = await pushTagged(store, 'changed');
    await writeFile(blobPath(path, manifest), '{}');
    await writeFile(blobPath(path, layer), noise(500, 'other'));
    await expect(store.fetchManifest('changed')).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    const reading = store.fetchBlob(layer).then(readAll);
    await expect(reading).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });

  it('and a blob of the wrong size is absent to writers, so that a push heals it', async () => {
    const { path, store } = await newLayout();
    const bytes = noise(500, 'torn');
    const blob = await push(store, bytes);
    await writeFile(blobPath(path, blob), bytes.subarray(0, 100));
    expect(await store.hasBlob(blob)).toBe(false);
    expect(await store.pushBlob(blob, opener(bytes))).toBe('pushed');
    expect(await readAll(await store.fetchBlob(blob))).toEqual(bytes);
  });
});

describe('what other tools wrote into index.json', () => {
  it('is kept', async () => {
    const { path, store } = await newLayout();
    const [manifest] = await pushTagged(store, 'ours');
    const foreign = { ...manifest, platform: { architecture: 'amd64', os: 'linux' }, annotations: { colour: 'red' } };
    await writeFile(
      join(path, 'index.json'),
      JSON.stringify({ schemaVersion: 2, manifests: [foreign], annotations: { made: 'elsewhere' }, extra: 1 }),
    );
    await pushTagged(store, 'new');
    const index: unknown = JSON.parse(await readFile(join(path, 'index.json'), 'utf8'));
    expect(index).toMatchObject({ manifests: [foreign, {}], annotations: { made: 'elsewhere' }, extra: 1 });
    expect(await store.listTags()).toEqual(['new']);
  });
});

describe('adopting files', () => {
  it('says so where one was taken away meanwhile, as by a gc', async () => {
    const { store } = await newLayout();
    const file = join(await store.ingestDirectory(), 'gone');
    await expect(store.adoptFile(describeBytes(noise(10, 'gone')), file)).rejects.toMatchObject({
      code: 'ERR_IO',
      message: expect.stringMatching(/gone: it, .* was removed meanwhile, by a gc/),
    });
  });

  it('moves a finished file in, once', async () => {
    const { path, store } = await newLayout();
    const bytes = noise(5000, 'adopted');
    for (const expected of ['pushed', 'existed']) {
      const file = join(await store.ingestDirectory(), `finished-${expected}`);
      await writeFile(file, bytes);
      expect(await store.adoptFile(describeBytes(bytes), file)).toBe(expected);
      await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
    }
    expect(await readAll(await store.fetchBlob(describeBytes(bytes)))).toEqual(bytes);
    expect((await stat(blobPath(path, describeBytes(bytes)))).mode & 0o777).toBe(0o666 & ~process.umask());
  });

  it('refuses a file of another size, and leaves it', async () => {
    const { store } = await newLayout();
    const file = join(await store.ingestDirectory(), 'short');
    await writeFile(file, noise(10, 'short'));
    const adopting = store.adoptFile(describeBytes(noise(11, 'short')), file);
    await expect(adopting).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect((await stat(file)).size).toBe(10);
  });
});

describe('deletion in a layout', () => {
  it('leaves the file of a manifest that an index still names, for its readers and the sweep', async () => {
    const { path, store } = await newLayout();
    const [child] = await pushTagged(store, 'child');
    const index = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [child] });
    const parent = await store.pushManifest('parent', IMAGE_INDEX, index);
    expect(await store.deleteManifest(child.digest)).toBe('deleted');
    expect(await store.listTags()).toEqual(['parent']);
    expect((await store.fetchManifest(child.digest))?.descriptor.digest).toBe(child.digest);
    await store.deleteManifest(parent.digest);
    expect(await store.deleteManifest(child.digest)).toBe('deleted');
    await expect(stat(blobPath(path, child))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('leaves it also where the index, or one below it, is of a kind that nobody here knows', async () => {
    const { path, store } = await newLayout();
    const [child] = await pushTagged(store, 'child');
    const inner = await push(store, Buffer.from(JSON.stringify({ parts: [{ at: child.digest }] })));
    const outer = {
      schemaVersion: 2,
      mediaType: IMAGE_INDEX,
      manifests: [{ ...inner, mediaType: 'application/vnd.x' }],
    };
    const named = await push(store, Buffer.from(JSON.stringify({ of: [child.digest] })));
    const parents = [await push(store, Buffer.from(JSON.stringify(outer))), named];
    for (const [at, parent] of parents.entries()) {
      const mediaType = at === 0 ? IMAGE_INDEX : 'application/vnd.example.index+json';
      const file = join(path, 'index.json');
      const index = JSON.parse(await readFile(file, 'utf8')) as { manifests: object[] };
      const entry = { ...parent, mediaType, annotations: { 'org.opencontainers.image.ref.name': 'parent' } };
      await writeFile(file, JSON.stringify({ ...index, manifests: [...index.manifests.slice(0, 1 - at), entry] }));
      await store.deleteManifest(child.digest);
      expect((await stat(blobPath(path, child))).size).toBe(child.size);
    }
  });

  it('never removes a blob that is no manifest', async () => {
    const { store } = await newLayout();
    const blob = await push(store, noise(100, 'blob'));
    expect(await store.deleteManifest(blob.digest)).toBe('absent');
    expect(await store.hasBlob(blob)).toBe(true);
  });

  it('removes a damaged manifest', async () => {
    const { path, store } = await newLayout();
    const [manifest] = await pushTagged(store, 'damaged');
    await writeFile(blobPath(path, manifest), '{}');
    expect(await store.deleteManifest(manifest.digest)).toBe('deleted');
    expect(await store.listTags()).toEqual([]);
  });
});
