/** The part of content-store.suite.ts about manifests, tags and deletion. */
import { expect, it } from 'vitest';
import { type ContentStore, canDelete, type Deleter } from '../../src/oci/content-store.ts';
import { type Descriptor, describe as describeContent } from '../../src/oci/descriptor.ts';
import {
  encodeManifest,
  IMAGE_INDEX,
  IMAGE_MANIFEST,
  type ImageIndex,
  MAX_MANIFEST_BYTES,
} from '../../src/oci/manifest.ts';
import { describeBytes, noise, OCTETS, opener } from '../support/bytes.ts';
import type { ContentStoreTraits } from './content-store.suite.ts';

const hello = Buffer.from('hello, blob');
const target = describeBytes(hello);

export function testManifests(
  open: () => Promise<ContentStore>,
  { tellsBlobsFromManifests = true }: ContentStoreTraits,
): void {
  it('finds a manifest by tag and by digest', async () => {
    const store = await open();
    const bytes = await manifestOver(store, 'one');
    const descriptor = await store.pushManifest('one', IMAGE_MANIFEST, bytes);
    expect(descriptor).toMatchObject(describeContent(IMAGE_MANIFEST, bytes));
    for (const reference of ['one', descriptor.digest]) {
      const found = await store.fetchManifest(reference);
      expect(found?.bytes.equals(bytes)).toBe(true);
      expect(found?.descriptor).toMatchObject(describeContent(IMAGE_MANIFEST, bytes));
      expect(await store.resolve(reference)).toMatchObject(describeContent(IMAGE_MANIFEST, bytes));
    }
  });

  it('has no manifest and no tag in the beginning', async () => {
    const store = await open();
    for (const reference of ['absent', target.digest]) {
      expect(await store.fetchManifest(reference)).toBeUndefined();
      expect(await store.resolve(reference)).toBeUndefined();
    }
    expect(await store.listTags()).toEqual([]);
  });

  it.runIf(tellsBlobsFromManifests)('does not take a blob for a manifest', async () => {
    const store = await open();
    await store.pushBlob(target, opener(hello));
    expect(await store.fetchManifest(target.digest)).toBeUndefined();
    expect(await store.resolve(target.digest)).toBeUndefined();
  });

  it('moves a tag, and keeps the manifest that lost it', async () => {
    const store = await open();
    const first = await store.pushManifest('moving', IMAGE_MANIFEST, await manifestOver(store, 'first'));
    const second = await store.pushManifest('moving', IMAGE_MANIFEST, await manifestOver(store, 'second'));
    expect((await store.resolve('moving'))?.digest).toBe(second.digest);
    expect((await store.fetchManifest(first.digest))?.descriptor.digest).toBe(first.digest);
    expect(await store.listTags()).toEqual(['moving']);
  });

  it('lets two tags name one manifest, and takes the same tag twice', async () => {
    const store = await open();
    const bytes = await manifestOver(store, 'shared');
    for (const tag of ['a', 'b', 'b']) await store.pushManifest(tag, IMAGE_MANIFEST, bytes);
    expect((await store.listTags()).sort()).toEqual(['a', 'b']);
    expect((await store.resolve('a'))?.digest).toBe((await store.resolve('b'))?.digest);
  });

  it('keeps an index over manifests', async () => {
    const store = await open();
    const child = await store.pushManifest('child', IMAGE_MANIFEST, await manifestOver(store, 'child'));
    const bytes = indexOver([child], 'parent');
    const parent = await store.pushManifest('parent', IMAGE_INDEX, bytes);
    expect((await store.fetchManifest('parent'))?.descriptor).toMatchObject({ mediaType: IMAGE_INDEX });
    expect((await store.fetchManifest(parent.digest))?.bytes.equals(bytes)).toBe(true);
  });

  it('refuses a manifest that names an absent layer, config or child', async () => {
    const store = await open();
    await store.pushBlob(target, opener(hello));
    const absent = describeBytes(noise(10, 'absent'));
    const refused = [manifest(target, [target, absent], 'layer'), manifest(absent, [target], 'config')] as const;
    for (const bytes of refused) {
      await expect(store.pushManifest('bad', IMAGE_MANIFEST, bytes)).rejects.toMatchObject({
        code: 'ERR_BLOB_UNKNOWN',
      });
    }
    const index = indexOver([{ ...absent, mediaType: IMAGE_MANIFEST }], 'child');
    await expect(store.pushManifest('bad', IMAGE_INDEX, index)).rejects.toMatchObject({ code: 'ERR_BLOB_UNKNOWN' });
    expect(await store.listTags()).toEqual([]);
    expect(await store.resolve('bad')).toBeUndefined();
  });

  it('refuses a manifest of more than 4 MiB', async () => {
    const store = await open();
    const bytes = Buffer.concat([await manifestOver(store, 'long'), Buffer.alloc(MAX_MANIFEST_BYTES, ' ')]);
    await expect(store.pushManifest('long', IMAGE_MANIFEST, bytes)).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
    expect(await store.listTags()).toEqual([]);
  });

  it.each(['', '.hidden', 'a/b', 'a:b', 'x'.repeat(129)])('refuses the tag %j', async (tag) => {
    const store = await open();
    const bytes = await manifestOver(store, 'tagged');
    await expect(store.pushManifest(tag, IMAGE_MANIFEST, bytes)).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('lists all of 250 tags', async () => {
    const store = await open();
    const bytes = await manifestOver(store, 'many');
    const tags = Array.from({ length: 250 }, (_, at) => `tag-${String(at).padStart(3, '0')}`);
    for (let at = 0; at < tags.length; at += 25) {
      await Promise.all(tags.slice(at, at + 25).map((tag) => store.pushManifest(tag, IMAGE_MANIFEST, bytes)));
    }
    expect((await store.listTags()).sort()).toEqual(tags);
  });

  it('loses none of 50 manifests pushed at once', async () => {
    const store = await open();
    const tags = Array.from({ length: 50 }, (_, at) => `at-once-${at}`);
    const manifests = await Promise.all(tags.map((tag) => manifestOver(store, tag)));
    await Promise.all(manifests.map((bytes, at) => store.pushManifest(`at-once-${at}`, IMAGE_MANIFEST, bytes)));
    expect((await store.listTags()).sort()).toEqual([...tags].sort());
    for (const [at, bytes] of manifests.entries()) {
      expect((await store.resolve(`at-once-${at}`))?.digest).toBe(describeBytes(bytes).digest);
    }
  });
}

export function testDeletion(open: () => Promise<ContentStore>): void {
  const openDeleter = async (): Promise<ContentStore & Deleter> => {
    const store = await open();
    if (!canDelete(store)) throw new Error('this store does not delete; say { deletes: false }');
    return store;
  };

  it('removes a manifest with all its tags, and no other', async () => {
    const store = await openDeleter();
    const bytes = await manifestOver(store, 'deleted');
    const { digest } = await store.pushManifest('one', IMAGE_MANIFEST, bytes);
    await store.pushManifest('two', IMAGE_MANIFEST, bytes);
    const kept = await store.pushManifest('kept', IMAGE_MANIFEST, await manifestOver(store, 'kept'));
    expect(await store.deleteManifest(digest)).toBe('deleted');
    expect(await store.listTags()).toEqual(['kept']);
    for (const reference of ['one', 'two', digest]) {
      expect(await store.resolve(reference)).toBeUndefined();
      expect(await store.fetchManifest(reference)).toBeUndefined();
    }
    expect((await store.resolve('kept'))?.digest).toBe(kept.digest);
  });

  it('may be asked twice, and for what was never there', async () => {
    const store = await openDeleter();
    const { digest } = await store.pushManifest('one', IMAGE_MANIFEST, await manifestOver(store, 'twice'));
    expect(await store.deleteManifest(digest)).toBe('deleted');
    expect(await store.deleteManifest(digest)).toBe('absent');
    expect(await store.deleteManifest(describeBytes(noise(9, 'never')).digest)).toBe('absent');
  });

  it('takes the same manifest again after its deletion', async () => {
    const store = await openDeleter();
    const bytes = await manifestOver(store, 'again');
    const { digest } = await store.pushManifest('one', IMAGE_MANIFEST, bytes);
    await store.deleteManifest(digest);
    await store.pushManifest('one', IMAGE_MANIFEST, bytes);
    expect((await store.fetchManifest('one'))?.bytes.equals(bytes)).toBe(true);
  });
}

/** A manifest, told from all others by `mark`, whose config and one layer are in `store`. */
async function manifestOver(store: ContentStore, mark: string): Promise<Buffer> {
  const layer = noise(100, mark);
  const config = Buffer.from(JSON.stringify({ mark }));
  await store.pushBlob(describeBytes(layer), opener(layer));
  await store.pushBlob(describeBytes(config), opener(config));
  return manifest(describeBytes(config), [describeBytes(layer)], mark);
}

const manifest = (config: Descriptor, layers: readonly Descriptor[], mark: string): Buffer =>
  encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    artifactType: OCTETS,
    config,
    layers,
    annotations: { mark },
  });

function indexOver(manifests: readonly Descriptor[], mark: string): Buffer {
  const index: ImageIndex = { schemaVersion: 2, mediaType: IMAGE_INDEX, manifests, annotations: { mark } };
  return encodeManifest(index);
}
