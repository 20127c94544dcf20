/** What was acknowledged stays: also the file that another path shares, which is let go of meanwhile. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatNarInfo } from '../../../src/nix/nar-info.ts';
import type { PathInfo } from '../../../src/nix/path-info.ts';
import { hashPartOf } from '../../../src/nix/store-path.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { setUpUploads, uploadOf } from './set-up.ts';

const fileOf = ({ narUrl }: { narUrl: string }): string => narUrl.slice('/nar/'.length);

/** Two paths with the same file, the first of them committed, and a reference of the second that takes time to be looked up. */
async function setUpTwins() {
  const reader = new MemoryCacheReader();
  const client = await setUpUploads({ reader });
  const text = 'the same';
  const [first, far] = [uploadOf(1, { text }), uploadOf(9)];
  const second = uploadOf(2, { text, references: [far.path.slice('/nix/store/'.length)] });
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const { promise: answered, resolve: answer } = Promise.withResolvers<PathInfo | undefined>();
  client.uploads.findUpstream = async (hashPart) => {
    if (hashPart !== far.hashPart) return undefined;
    ask();
    return answered;
  };
  await client.upload(first);
  client.uploads.committed(client.uploads.uncommitted());
  reader.add({ baseName: first.path.slice('/nix/store/'.length), nar: first.nar, keys: [client.key] });
  return { ...client, first, second, far, asked, answer };
}

describe('the file of two paths', () => {
  it('stays when the first is let go of while the references of the second are looked up', async () => {
    const { put, get, uploads, first, second, far, asked, answer } = await setUpTwins();
    const taking = put(second.narInfoUrl, formatNarInfo(second.info));
    await asked;
    await uploads.settle();
    expect(uploads.pending.get(hashPartOf(first.info.path))).toBeUndefined();
    answer(far.info);
    expect(await taking).toMatchObject({ status: 201 });
    expect((await get(second.narUrl)).bytes).toEqual(second.file);
    await uploads.settle();
    expect((await get(second.narUrl)).bytes).toEqual(second.file);
  });

  it('goes with the first when the second is refused', async () => {
    const { put, uploads, second, asked, answer, directory } = await setUpTwins();
    const taking = put(second.narInfoUrl, formatNarInfo(second.info));
    await asked;
    answer(undefined);
    expect(await taking).toMatchObject({ status: 409 });
    await uploads.settle();
    expect(await readdir(join(directory, 'nars'))).toEqual([]);
  });

  it('stays under both of its names while each is that of a path', async () => {
    let nowMs = Date.now();
    const client = await setUpUploads({ now: () => new Date(nowMs) });
    const [plain, other] = [uploadOf(1, { text: 'same' }), uploadOf(2, { text: 'same' })];
    const bare = { ...other, narUrl: other.narUrl.replace('.zst', '') };
    await client.upload(plain);
    expect(await client.put(bare.narUrl, bare.file)).toMatchObject({ status: 201 });
    const info = formatNarInfo({ ...other.info, url: bare.narUrl.slice(1) });
    expect(await client.put(other.narInfoUrl, info)).toMatchObject({ status: 201 });
    nowMs += 25 * 3600 * 1000;
    await client.uploads.settle();
    expect((await readdir(join(client.directory, 'nars'))).sort()).toEqual([fileOf(bare), fileOf(plain)].sort());
  });

  it('is that which was sent last, when it is sent again while it is removed', async () => {
    const client = await setUpUploads();
    const upload = uploadOf(1);
    for (let round = 0; round < 20; round++) {
      await client.put(upload.narUrl, upload.file);
      const removing = client.uploads.nars.remove(fileOf(upload));
      expect(await client.put(upload.narUrl, upload.file)).toMatchObject({ status: 201 });
      await removing;
      const isKnown = client.uploads.nars.get(fileOf(upload)) !== undefined;
      expect(await readdir(join(client.directory, 'nars'))).toEqual(isKnown ? [fileOf(upload)] : []);
    }
  });
});

describe('a path whose file was lost', () => {
  it('is not taken for one that is there, and is whole when its file is sent again', async () => {
    const client = await setUpUploads();
    const upload = uploadOf(1);
    await client.upload(upload);
    await rm(join(client.directory, 'nars', fileOf(upload)));
    expect(await client.put(upload.narInfoUrl, formatNarInfo(upload.info))).toMatchObject({ status: 409 });
    expect(await client.upload(upload)).toMatchObject({ status: 201 });
    expect((await client.get(upload.narUrl)).bytes).toEqual(upload.file);
  });

  it('is nothing that others may refer to', async () => {
    const client = await setUpUploads();
    const upload = uploadOf(1);
    await client.upload(upload);
    await rm(join(client.directory, 'nars', fileOf(upload)));
    const above = uploadOf(2, { references: [upload.path.slice('/nix/store/'.length)] });
    expect(await client.upload(above)).toMatchObject({ status: 409 });
  });

  it('is told of after a start, and is no upload any more', async () => {
    const client = await setUpUploads();
    const upload = uploadOf(1);
    await client.upload(upload);
    await client.close();
    await rm(join(client.directory, 'nars', fileOf(upload)));
    const again = await setUpUploads({ directory: client.directory });
    expect((await again.get(upload.narInfoUrl)).status).toBe(404);
    expect(again.events).toMatchObject([
      { type: 'upload-not-committed', reason: expect.stringContaining('upload the path again') },
    ]);
    expect(await again.upload(upload)).toMatchObject({ status: 201 });
    expect(again.uploads.uncommitted()).toHaveLength(1);
  });

  it('is done with after a start where the cache has it', async () => {
    const reader = new MemoryCacheReader();
    const client = await setUpUploads({ reader });
    const upload = uploadOf(1);
    await client.upload(upload);
    await client.close();
    await rm(join(client.directory, 'nars', fileOf(upload)));
    reader.add({
      baseName: upload.path.slice('/nix/store/'.length),
      nar: upload.nar,
      compression: 'zstd',
      keys: [client.key],
    });
    const again = await setUpUploads({ directory: client.directory, reader });
    expect(again.events).toEqual([]);
    expect(await readdir(join(client.directory, 'paths'))).toEqual([]);
  });
});
