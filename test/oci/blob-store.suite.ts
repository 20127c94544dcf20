/** The part of content-store.suite.ts about blobs. */
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { encodeManifest, IMAGE_INDEX } from '../../src/oci/manifest.ts';
import { describeBytes, noise, opener, readAll } from '../support/bytes.ts';

const hello = Buffer.from('hello, blob');
const target = describeBytes(hello);

export function testBlobs(open: () => Promise<ContentStore>): void {
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

export function testRanges(open: () => Promise<ContentStore>): void {
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

export function testAborts(open: () => Promise<ContentStore>): void {
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
