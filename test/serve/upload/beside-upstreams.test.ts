/** Uploads beside upstreams: what those serve stays, and what they do not say is not taken for what is not there. */
import { describe, expect, it } from 'vitest';
import { formatNarInfo } from '../../../src/nix/nar-info.ts';
import { addPath, startFakeUpstream } from '../../support/fake-upstream.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { newKey } from '../set-up.ts';
import { open } from '../upstream-set-up.ts';
import { setUpUploads, type Upload, uploadOf } from './set-up.ts';

const FAR_KEY = newKey('far-1');
const nameOf = ({ path }: Upload): string => path.slice('/nix/store/'.length);

async function setUp() {
  const far = await startFakeUpstream();
  const client = await setUpUploads({ upstreams: [open(far.url)] });
  const have = (upload: Upload): void => void addPath(far, { baseName: nameOf(upload), nar: upload.nar, key: FAR_KEY });
  return { ...client, far, have };
}

describe('a path of an upstream', () => {
  it('is not replaced by one with other contents', async () => {
    const { upload, get, uploads, have } = await setUp();
    const theirs = uploadOf(1, { text: 'theirs' });
    have(theirs);
    expect(await upload(uploadOf(1, { text: 'ours' }))).toMatchObject({ status: 201 });
    expect((await get(theirs.narInfoUrl)).text).toContain(`NarHash: ${theirs.info.narHash}`);
    expect(uploads.uncommitted()).toEqual([]);
  });

  it('gains signatures and keeps its own', async () => {
    const { upload, get, have, key } = await setUp();
    const theirs = uploadOf(1);
    have(theirs);
    expect(await upload(theirs)).toMatchObject({ status: 201 });
    const { text } = await get(theirs.narInfoUrl);
    expect(text).toContain(`Sig: ${FAR_KEY.name}:`);
    expect(text).toContain(`Sig: ${key.name}:`);
  });

  it('is not what has its hash and another name', async () => {
    const { upload, have } = await setUp();
    have(uploadOf(1));
    const other = `${nameOf(uploadOf(1))}-other`;
    expect(await upload(uploadOf(2, { references: [other] }))).toMatchObject({
      status: 400,
      text: expect.stringContaining(`what has that hash is called ${nameOf(uploadOf(1))}`),
    });
  });
});

describe('a path that refers to another name with the hash of one that is served', () => {
  it('is refused', async () => {
    const { upload } = await setUp();
    await upload(uploadOf(1));
    const answer = await upload(uploadOf(2, { references: [`${nameOf(uploadOf(1))}-other`] }));
    expect(answer).toMatchObject({ status: 400 });
  });
});

describe('a realisation of an upstream', () => {
  const id = `sha256:${'0f'.repeat(32)}!out`;
  const of = (upload: Upload): string =>
    JSON.stringify({ dependentRealisations: {}, id, outPath: nameOf(upload), signatures: [] });

  it('is not replaced; while the upstream is away others are taken', async () => {
    const { upload, put, far } = await setUp();
    const [theirs, ours] = [uploadOf(1), uploadOf(2)];
    for (const each of [theirs, ours]) await upload(each);
    far.files.set(`/realisations/${id}.doi`, of(theirs));
    expect(await put(`/realisations/${id}.doi`, of(ours))).toMatchObject({ status: 409 });
    expect(await put(`/realisations/${id}.doi`, of(theirs))).toMatchObject({ status: 201 });
    far.faults.status = 500;
    const other = id.replace('0f', 'f0');
    const answer = await put(`/realisations/${other}.doi`, of(ours).replace(id, other));
    expect(answer).toMatchObject({ status: 201 });
  });
});

describe('a path of a cache that is being read for the first time', () => {
  it('waits for that, and is not replaced', async () => {
    const reader = new MemoryCacheReader();
    const client = await setUpUploads({ reader });
    const { promise: isRead, resolve: read } = Promise.withResolvers<void>();
    const [theirs, ours] = [uploadOf(1, { text: 'theirs' }), uploadOf(1, { text: 'ours' })];
    Object.assign(reader.faults, { refreshAfter: isRead, published: { baseName: nameOf(theirs), nar: theirs.nar } });
    const refreshing = client.app.refresher.refresh();
    await client.put(ours.narUrl, ours.file);
    const taking = client.put(ours.narInfoUrl, formatNarInfo(ours.info));
    for (const seed of [2, 3]) await client.put(uploadOf(seed).narUrl, uploadOf(seed).file); // time enough to be taken
    read();
    await refreshing;
    expect(await taking).toMatchObject({ status: 201 });
    expect((await client.get(ours.narInfoUrl)).text).toContain(`NarHash: ${theirs.info.narHash}`);
    expect(client.uploads.uncommitted()).toEqual([]);
  });
});

describe('an upstream that fails', () => {
  it('keeps nobody from uploading a path and what that refers to', async () => {
    const { upload, far, uploads } = await setUp();
    far.faults.status = 500;
    expect(await upload(uploadOf(1))).toMatchObject({ status: 201 });
    expect(await upload(uploadOf(2, { references: [nameOf(uploadOf(1))] }))).toMatchObject({ status: 201 });
    expect(uploads.uncommitted()).toHaveLength(2);
  });

  it('is not said to lack what a path refers to', async () => {
    const { upload, far, have } = await setUp();
    const [base, above] = [uploadOf(1), uploadOf(2, { references: [nameOf(uploadOf(1))] })];
    have(base);
    far.faults.status = 500;
    expect(await upload(above)).toMatchObject({ status: 503, text: expect.stringContaining('does not say') });
  });
});
