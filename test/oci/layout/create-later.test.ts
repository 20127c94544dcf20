/** A layout that is made when something is written into it. */
import { watch } from 'node:fs';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import { describe as descriptorOf } from '../../../src/oci/descriptor.ts';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { tempDir } from '../../support/temp-dir.ts';

const BYTES = Buffer.from('bytes');
const BLOB = descriptorOf('application/octet-stream', BYTES);
const push = (store: LayoutStore) => store.pushBlob(BLOB, () => Readable.from([BYTES]));

describe('a layout that is made later', () => {
  it('is nothing until then, whatever is asked of it', async () => {
    const parent = await tempDir();
    const store = await LayoutStore.open(join(parent, 'a/b'), { create: 'when-written' });
    expect(await store.listTags()).toEqual([]);
    expect(await store.resolve('cache-index')).toBeUndefined();
    expect(await store.hasBlob(BLOB)).toBe(false);
    await store.checkWrite();
    expect(await readdir(parent)).toEqual([]);
  });

  it('is whole once something is written, by many at once', async () => {
    const parent = await tempDir();
    const stores = await Promise.all(
      [0, 1].map(() => LayoutStore.open(join(parent, 'a/b'), { create: 'when-written' })),
    );
    await Promise.all(stores.flatMap((store) => [push(store), push(store), store.ingestDirectory()]));
    const names = ['.index.lock', '.ingest', 'blobs', 'index.json', 'oci-layout'];
    expect((await readdir(join(parent, 'a/b'))).sort()).toEqual(names);
    expect(await stores[0]?.hasBlob(BLOB)).toBe(true);
    await stores[1]?.checkWrite();
  });

  it('is nothing yet where another process has only made its directory, but is not gone once it was there', async () => {
    const path = join(await tempDir(), 'a');
    const store = await LayoutStore.open(path, { create: 'when-written' });
    await mkdir(path);
    expect(await store.listTags()).toEqual([]);
    await push(store);
    expect(await store.listTags()).toEqual([]);
    await rm(path, { recursive: true });
    await mkdir(path);
    await expect(store.listTags()).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('is refused at once where other files lie, or a file is in the way', async () => {
    const parent = await tempDir();
    await mkdir(join(parent, 'full'));
    await writeFile(join(parent, 'full/file'), '');
    const open = (path: string) => LayoutStore.open(join(parent, path), { create: 'when-written' });
    await expect(open('full')).rejects.toMatchObject({ code: 'ERR_USAGE' });
    await expect(open('full/file/x').then((store) => store.checkWrite())).rejects.toMatchObject({ code: 'ERR_IO' });
    expect(await readdir(parent)).toEqual(['full']);
  });
});

it('is not taken to be made behind a link to what is not mounted, nor read as empty there', async () => {
  const parent = await tempDir();
  await symlink(join(parent, 'away'), join(parent, 'link'));
  for (const path of ['link', 'link/a/b']) {
    for (const create of ['when-written', false] as const) {
      await expect(LayoutStore.open(join(parent, path), { create })).rejects.toMatchObject({
        code: 'ERR_IO',
        message: expect.stringMatching(/link to .*away, which is not there/),
      });
    }
  }
});

it('is looked at before anything is made, and nothing is left whenever that ends', async () => {
  const parent = await tempDir();
  const seen: (string | null)[] = [];
  const watching = watch(parent, (_event, name) => seen.push(name));
  onTestFinished(() => watching.close());
  const store = await LayoutStore.open(join(parent, 'a/b'), { create: 'when-written' });
  await store.checkWrite();
  await mkdir(join(parent, 'end'));
  await expect.poll(() => seen).toContain('end');
  expect(seen.filter((name) => name !== 'end')).toEqual([]);
});
