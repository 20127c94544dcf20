/**
 * The behaviour that every content store owes. Each implementation's test file calls this once; `open` gives a store
 * that is empty, or shares its repository with no other test.
 */
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import { type ContentStore, canDelete, type Deleter } from '../../src/oci/content-store.ts';
import { type Descriptor, describe as describeContent } from '../../src/oci/descriptor.ts';
import {
  encodeManifest,
  IMAGE_INDEX,
  IMAGE_MANIFEST,
  type ImageIndex,
  MAX_MANIFEST_BYTES,
} from '../../src/oci/manifest.ts';
import { describeBytes, noise, OCTETS, opener, readAll } from '../support/bytes.ts';

export interface ContentStoreTraits {
  /** Whether `deleteManifest` works here; by default, whether it is there. */
  readonly deletes?: boolean;
}

const hello = Buffer.from('hello, blob');
const target = describeBytes(hello);

export function testContentStore(
  name: string,
  open: () => Promise<ContentStore>,
  traits: ContentStoreTraits = {},
): void {
  describe(`${name} is a content store`, () => {
    describe('blobs', () => testBlobs(open));
    describe('ranges', () => testRanges(open));
    describe('aborts', () => testAborts(open));
    describe('manifests and tags', () => testManifests(open));
    if (traits.deletes !== false) describe('deletion', () => testDeletion(open));
  });
}

function testBlobs(open: () => Promise<ContentStore>): void {
  it('gives back what was pushed', async () => {
    const store = await open();
    expect(await store.pushBlob(target, opener(hello))).toBe('pushed');
    expect(await readAll(await store.fetchBlob(target))).toEqual(hello);
  });

  it('fetches a blob by its digest alone', async () => {
    const store = await open();
    await store.pushBlob(target, opener(hello));
    expect(await readAll(await store.fetchBlob({ digest: target.digest }))).toEqual(hello);
    expect(await store.hasBlob({ digest: target.digest })).toBe(true);
  });

  it('tells a blob that is there from one that is not', async () => {
    const store = await open();
    expect(await store.hasBlob(target)).toBe(false);
    await store.pushBlob(target, opener(hello));
    expect(await store.hasBlob(target)).toBe(true);
  });

  it('says that a blob pushed twice existed', async () => {
    const store = await open();
    await store.pushBlob(target, opener(hello));
    expect(await store.pushBlob(target, opener(hello))).toBe('existed');
    expect(await readAll(await store.fetchBlob(target))).toEqual(hello);
  });

  it('takes content that is opened asynchronously', async () => {
    const store = await open();
    expect(await store.pushBlob(target, async () => opener(hello)())).toBe('pushed');
  });

  it.each([
    ['other bytes', 'jello, blob'],
    ['too few bytes', 'hello, blo'],
    ['no bytes', ''],
    ['too many bytes', 'hello, blob!'],
  ])('stores nothing when %s come', async (_, text) => {
    const store = await open();
    await expect(store.pushBlob(target, opener(Buffer.from(text)))).rejects.toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
    });
    expect(await store.hasBlob(target)).toBe(false);
    await expect(store.fetchBlob(target)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(await store.pushBlob(target, opener(hello))).toBe('pushed');
  });

  it('passes on what opening the content throws, and takes the blob the next time', async () => {
    const store = await open();
    const broken = new NixcacheError('ERR_NAR_MISMATCH', 'the path has changed');
    await expect(store.pushBlob(target, () => Promise.reject(broken))).rejects.toBe(broken);
    expect(await store.pushBlob(target, opener(hello))).toBe('pushed');
  });

  it('passes on the error in which the content ends', async () => {
    const store = await open();
    const broken = new NixcacheError('ERR_NAR_MISMATCH', 'the path has changed');
    const content = async function* (): AsyncGenerator<Buffer> {
      yield hello.subarray(0, 4);
      throw broken;
    };
    await expect(store.pushBlob(target, () => Readable.from(content()))).rejects.toBe(broken);
    expect(await store.hasBlob(target)).toBe(false);
  });

  it('says ERR_NOT_FOUND for a blob that is not there, before any stream', async () => {
    const store = await open();
    await expect(store.fetchBlob(target)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    const range = { offset: 0, length: 1 };
    await expect(store.fetchBlob(target, { range })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('ends in an error rather than in a whole blob of another size', async () => {
    const store = await open();
    await store.pushBlob(target, opener(hello));
    const shorter = { ...target, size: hello.length - 1 };
    const fetching = store.fetchBlob(shorter).then(readAll);
    await expect(fetching).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });

  it('keeps the empty blob', async () => {
    const store = await open();
    const nothing = Buffer.alloc(0);
    await store.pushBlob(describeBytes(nothing), opener(nothing));
    expect(await store.hasBlob(describeBytes(nothing))).toBe(true);
    expect(await readAll(await store.fetchBlob(describeBytes(nothing)))).toEqual(nothing);
  });

  it('streams a blob of 8 MiB in small chunks', async () => {
    const store = await open();
    const bytes = noise(8 * 1024 * 1024, 'big');
    expect(await store.pushBlob(describeBytes(bytes), opener(bytes, 10_007))).toBe('pushed');
    let chunks = 0;
    let seen = 0;
    for await (const chunk of (await store.fetchBlob(describeBytes(bytes))) as AsyncIterable<Buffer>) {
      expect(chunk.equals(bytes.subarray(seen, seen + chunk.length))).toBe(true);
      seen += chunk.length;
      chunks += 1;
    }
    expect(seen).toBe(bytes.length);
    expect(chunks).toBeGreaterThan(4);
  });

  it('lets a reader leave a stream early', async () => {
    const store = await open();
    const bytes = noise(1024 * 1024, 'left');
    await store.pushBlob(describeBytes(bytes), opener(bytes));
    const stream = await store.fetchBlob(describeBytes(bytes));
    for await (const _ of stream) break;
    expect(stream.destroyed).toBe(true);
    expect(await readAll(await store.fetchBlob(describeBytes(bytes)))).toHaveLength(bytes.length);
  });

  it('takes 16 pushes of one blob at once', async () => {
    const store = await open();
    const bytes = noise(200_000, 'same');
    const pushes = Array.from({ length: 16 }, () => store.pushBlob(describeBytes(bytes), opener(bytes)));
    expect(await Promise.all(pushes)).toContain('pushed');
    expect((await readAll(await store.fetchBlob(describeBytes(bytes)))).equals(bytes)).toBe(true);
  });
}

function testRanges(open: () => Promise<ContentStore>): void {
  const bytes = noise(300_000, 'ranges');
  const blob = describeBytes(bytes);

  it.each([
    ['the first byte', 0, 1],
    ['the last byte', bytes.length - 1, 1],
    ['the middle', 70_000, 150_001],
    ['the whole', 0, bytes.length],
  ])('reads %s', async (_, offset, length) => {
    const store = await open();
    await store.pushBlob(blob, opener(bytes));
    const part = await readAll(await store.fetchBlob(blob, { range: { offset, length } }));
    expect(part.equals(bytes.subarray(offset, offset + length))).toBe(true);
    const unsized = await readAll(await store.fetchBlob({ digest: blob.digest }, { range: { offset, length } }));
    expect(unsized.equals(part)).toBe(true);
  });

  it.each([
    ['starts at the end', bytes.length, 1],
    ['goes past the end', bytes.length - 1, 2],
    ['is empty', 5, 0],
    ['starts before the blob', -1, 2],
    ['is no whole number', 0.5, 1],
  ])('refuses a range that %s', async (_, offset, length) => {
    const store = await open();
    await store.pushBlob(blob, opener(bytes));
    await expect(store.fetchBlob(blob, { range: { offset, length } })).rejects.toMatchObject({ code: 'ERR_RANGE' });
  });

  it('refuses a range outside a blob of unknown size', async () => {
    const store = await open();
    await store.pushBlob(blob, opener(bytes));
    const range = { offset: bytes.length, length: 1 };
    await expect(store.fetchBlob({ digest: blob.digest }, { range })).rejects.toMatchObject({ code: 'ERR_RANGE' });
  });
}

function testAborts(open: () => Promise<ContentStore>): void {
  const reason = new NixcacheError('ERR_INTERRUPTED', 'stopped by the test');
  const signal = AbortSignal.abort(reason);
  const manifest = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [] });

  it('does nothing once the signal is aborted', async () => {
    const store = await open();
    await expect(store.pushBlob(target, opener(hello), { signal })).rejects.toBe(reason);
    await expect(store.hasBlob(target, { signal })).rejects.toBe(reason);
    await expect(store.fetchBlob(target, { signal })).rejects.toBe(reason);
    await expect(store.pushManifest('a', IMAGE_INDEX, manifest, { signal })).rejects.toBe(reason);
    await expect(store.fetchManifest('a', { signal })).rejects.toBe(reason);
    await expect(store.resolve('a', { signal })).rejects.toBe(reason);
    await expect(store.listTags({ signal })).rejects.toBe(reason);
    expect(await store.hasBlob(target)).toBe(false);
    expect(await store.listTags()).toEqual([]);
  });

  it('stops a push in the middle, closes the content and stores nothing', async () => {
    const store = await open();
    const bytes = noise(1024 * 1024, 'stopped');
    const controller = new AbortController();
    let sent = 0;
    const content = new Readable({
      read() {
        if (sent === 0) this.push(bytes.subarray(0, 65_536));
        else controller.abort(reason);
        sent += 1;
      },
    });
    const pushing = store.pushBlob(describeBytes(bytes), () => content, { signal: controller.signal });
    await expect(pushing).rejects.toBe(reason);
    expect(content.destroyed).toBe(true);
    expect(await store.hasBlob(describeBytes(bytes))).toBe(false);
  });

  it('ends a fetched stream with the reason', async () => {
    const store = await open();
    const bytes = noise(4 * 1024 * 1024, 'cut');
    await store.pushBlob(describeBytes(bytes), opener(bytes));
    const controller = new AbortController();
    const stream = await store.fetchBlob(describeBytes(bytes), { signal: controller.signal });
    const reading = (async () => {
      for await (const _ of stream) controller.abort(reason);
    })();
    await expect(reading).rejects.toBe(reason);
    expect(stream.destroyed).toBe(true);
  });

  it('does not mind an abort after the end', async () => {
    const store = await open();
    await store.pushBlob(target, opener(hello));
    const controller = new AbortController();
    const stream = await store.fetchBlob(target, { signal: controller.signal });
    expect(await readAll(stream)).toEqual(hello);
    controller.abort(reason);
    expect(stream.errored).toBe(null);
  });
}

function testManifests(open: () => Promise<ContentStore>): void {
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

  it('does not take a blob for a manifest', async () => {
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

function testDeletion(open: () => Promise<ContentStore>): void {
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
