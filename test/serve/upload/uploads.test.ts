/** What an upload needs to be taken, and how what was taken is served. */
import { readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { formatNarInfo, parseNarInfo } from '../../../src/nix/nar-info.ts';
import { signPathInfo } from '../../../src/nix/signature.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { newKey } from '../set-up.ts';
import { LOGIN, setUpUploads, sha256, type Upload, uploadOf } from './set-up.ts';

describe('a path that is uploaded', () => {
  it('is served at once, written anew and signed, with its NAR and the listing of that', async () => {
    const client = await setUpUploads();
    const upload = uploadOf(1);
    expect(await client.put(upload.narUrl, upload.file)).toMatchObject({ status: 201 });
    expect((await client.ask('HEAD', upload.narUrl, LOGIN)).status).toBe(200);
    expect(await client.get(upload.narUrl)).toMatchObject({ status: 200, bytes: upload.file });
    expect((await client.get(upload.narInfoUrl)).status).toBe(404);
    const text = `Foreign: field\n${formatNarInfo(upload.info)}`;
    expect(await client.put(upload.narInfoUrl, text)).toMatchObject({ status: 201 });

    const { publicKey } = client.key;
    const sig = signPathInfo(upload.info, client.key);
    expect(await client.get(upload.narInfoUrl)).toMatchObject({
      status: 200,
      text: formatNarInfo({ ...upload.info, sigs: [sig] }),
    });
    expect(sig.startsWith(`${publicKey.name}:`)).toBe(true);
    expect(await client.get(upload.narUrl)).toMatchObject({ status: 200, bytes: upload.file });
    const part = await client.ask('GET', upload.narUrl, { range: 'bytes=3-9' });
    expect(part).toMatchObject({ status: 206, bytes: upload.file.subarray(3, 10) });
    const listing = await client.get(`/${upload.hashPart}.ls`);
    expect(JSON.parse(listing.text)).toMatchObject({ root: { entries: { file: { size: 6 } } } });
  });

  it('is there after the process was killed, NARs without a narinfo too', async () => {
    const client = await setUpUploads();
    const [whole, half] = [uploadOf(1), uploadOf(2)];
    await client.upload(whole);
    await client.put(half.narUrl, half.file);
    const before = await client.get(whole.narInfoUrl);
    await client.close();
    const again = await setUpUploads({ directory: client.directory });
    expect(await again.get(whole.narInfoUrl)).toEqual(before);
    expect((await again.get(whole.narUrl)).bytes).toEqual(whole.file);
    expect((await again.get(`/${whole.hashPart}.ls`)).status).toBe(200);
    expect((await again.get(half.narUrl)).bytes).toEqual(half.file);
    expect(await again.put(half.narInfoUrl, formatNarInfo(half.info))).toMatchObject({ status: 201 });
  });

  it('may come encoded, all but its NAR', async () => {
    const client = await setUpUploads();
    const xz = async (text: string) => (await execa('xz', ['-c'], { input: text, encoding: 'buffer' })).stdout;
    const codings = { gzip: gzipSync, br: brotliCompressSync, zstd: zstdCompressSync, xz };
    for (const [i, [coding, encode]] of Object.entries(codings).entries()) {
      const upload = uploadOf(i + 1);
      await client.put(upload.narUrl, upload.file);
      const body = await encode(formatNarInfo(upload.info));
      expect(await client.put(upload.narInfoUrl, body, { 'content-encoding': coding })).toMatchObject({ status: 201 });
      expect((await client.get(upload.narInfoUrl)).status).toBe(200);
    }
    const [upload] = [uploadOf(9)];
    const refused = await client.put(upload.narInfoUrl, 'x', { 'content-encoding': 'rot13' });
    expect(refused).toMatchObject({ status: 400, text: expect.stringContaining("unknown Content-Encoding 'rot13'") });
    const damaged = await client.put(upload.narInfoUrl, 'no gzip', { 'content-encoding': 'gzip' });
    expect(damaged).toMatchObject({ status: 400, text: expect.stringContaining('cannot be decoded as gzip') });
  });

  it('may be one that Nix compresses without saying so in the name', async () => {
    const client = await setUpUploads();
    const { nar, info, narInfoUrl } = uploadOf(1);
    const file = gzipSync(nar);
    const fileHash = sha256(file);
    const url = `nar/${fileHash.slice('sha256:'.length)}.nar`;
    await client.put(`/${url}`, file);
    const gzipped = { ...info, url, compression: 'gzip', fileHash, fileSize: file.length };
    expect(await client.put(narInfoUrl, formatNarInfo({ ...gzipped, compression: 'br' }))).toMatchObject({
      status: 400,
    });
    expect(await client.put(narInfoUrl, formatNarInfo(gzipped))).toMatchObject({ status: 201 });
    const served = parseNarInfo((await client.get(narInfoUrl)).text);
    expect((await client.get(`/${served.url}`)).bytes).toEqual(file);
  });

  it('stays as it came first: others may rely on it', async () => {
    const client = await setUpUploads();
    const [first, second] = [uploadOf(1, { text: 'first' }), uploadOf(1, { text: 'other' })];
    await client.upload(first);
    const before = await client.get(first.narInfoUrl);
    expect(await client.upload(second)).toMatchObject({ status: 201 });
    expect(await client.get(first.narInfoUrl)).toEqual(before);
  });

  it('gains signatures, whether it waits or is in the cache', async () => {
    const reader = new MemoryCacheReader();
    const client = await setUpUploads({ reader });
    const [waiting, cached] = [uploadOf(1), uploadOf(2)];
    await client.upload(waiting);
    const { narInfo } = reader.add({ baseName: cached.path.slice('/nix/store/'.length), nar: cached.nar });
    const builder = newKey('builder-1');
    for (const info of [waiting.info, narInfo]) {
      const sigs = [signPathInfo(info, builder)];
      const url = `/${info.path.slice('/nix/store/'.length).slice(0, 32)}.narinfo`;
      expect(await client.put(url, formatNarInfo({ ...info, sigs }))).toMatchObject({ status: 201 });
      const served = parseNarInfo((await client.get(url)).text);
      expect(served.sigs.map((sig) => sig.split(':')[0]).sort()).toEqual(['builder-1', 'serve-1']);
    }
    expect(client.uploads.uncommitted()).toHaveLength(2);
  });

  it('takes the file of another path of the cache, which nobody sends twice', async () => {
    const reader = new MemoryCacheReader();
    const client = await setUpUploads({ reader });
    const twin = uploadOf(2, { compression: 'none' });
    reader.add({ baseName: uploadOf(3).path.slice('/nix/store/'.length), nar: twin.nar });
    expect((await client.ask('HEAD', twin.narUrl, LOGIN)).status).toBe(200);
    expect(await client.put(twin.narInfoUrl, formatNarInfo(twin.info))).toMatchObject({ status: 201 });
    expect((await client.get(twin.narUrl)).bytes).toEqual(twin.nar);
  });

  it('may be one of many at once, and the same many times', async () => {
    const client = await setUpUploads();
    const uploads = Array.from({ length: 60 }, (_, i) => uploadOf(1 + (i % 40)));
    const answers = await Promise.all(uploads.map((upload) => client.upload(upload)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(client.uploads.uncommitted()).toHaveLength(40);
    for (const { narUrl, file } of uploads) expect((await client.get(narUrl)).bytes).toEqual(file);
    expect(await readdir(join(client.directory, 'incoming'))).toEqual([]);
  });
});

describe('a realisation', () => {
  const id = `sha256:${'0f'.repeat(32)}!out`;
  const of = (upload: Upload, more: object = {}): string =>
    JSON.stringify({ dependentRealisations: {}, id, outPath: upload.path.slice(11), signatures: [], ...more });

  it('is signed and served once its path is there, however the client spells it', async () => {
    const client = await setUpUploads();
    const upload = uploadOf(1);
    const early = await client.put(`/realisations/${id}.doi`, of(upload));
    expect(early).toMatchObject({ status: 409, text: expect.stringContaining('upload that first') });
    await client.upload(upload);
    expect(await client.put(`/realisations/${id.replace('!', '%21')}.doi`, of(upload))).toMatchObject({ status: 201 });
    for (const spelt of [id, id.replace('!', '%21')]) {
      const { text } = await client.get(`/realisations/${spelt}.doi`);
      expect(JSON.parse(text)).toMatchObject({ id, signatures: [expect.stringMatching(/^serve-1:/)] });
    }
    await client.close();
    const again = await setUpUploads({ directory: client.directory });
    expect((await again.get(`/realisations/${id}.doi`)).status).toBe(200);
    expect((await again.get(upload.narInfoUrl)).status).toBe(200);
  });

  it.each<[string, string, string]>([
    ['that is no JSON', '{', 'it is no realisation'],
    ['of another derivation', of(uploadOf(1), { id: id.replace('0f', 'f0') }), 'it is no realisation'],
    ['of a path with another name', of(uploadOf(1), { outPath: `${uploadOf(1).hashPart}-other` }), 'not in the cache'],
    ['with junk for a signature', of(uploadOf(1), { signatures: ['\u001b[31m'] }), 'no NAME:BASE64'],
    [
      'with signatures without end',
      of(uploadOf(1), { signatures: Array.from({ length: 65 }, (_, i) => `k${i}:${'A'.repeat(86)}==`) }),
      'more than 64',
    ],
    ['that names no path', of(uploadOf(1), { outPath: '../x' }), 'it is no realisation'],
  ])('%s is refused', async (_what, body, reason) => {
    const client = await setUpUploads();
    await client.upload(uploadOf(1));
    const answer = await client.put(`/realisations/${id}.doi`, body);
    expect(answer).toMatchObject({ status: expect.any(Number), text: expect.stringContaining(reason) });
    expect((await client.get(`/realisations/${id}.doi`)).status).toBe(404);
  });

  it('that is served is replaced by none of another path, nor of two at once by the other', async () => {
    const client = await setUpUploads();
    const [first, second] = [uploadOf(1), uploadOf(2)];
    for (const each of [first, second]) await client.upload(each);
    const answers = await Promise.all([first, second].map((each) => client.put(`/realisations/${id}.doi`, of(each))));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
    const { text } = await client.get(`/realisations/${id}.doi`);
    const isFirst = text.includes(first.path.slice('/nix/store/'.length));
    expect(isFirst).toBe(answers[0]?.status === 201);
    expect(await client.put(`/realisations/${id}.doi`, of(isFirst ? second : first))).toMatchObject({
      status: 409,
      text: expect.stringContaining('does not replace it'),
    });
    const relying = of(isFirst ? first : second, { dependentRealisations: { [id]: second.path.slice(11) } });
    expect(await client.put(`/realisations/${id}.doi`, relying)).toMatchObject({ status: 201 });
    expect((await client.get(`/realisations/${id}.doi`)).text).toBe(text);
  });

  it('that nobody signed is refused by a server without a key', async () => {
    const client = await setUpUploads({ signingKeys: [] });
    const upload = uploadOf(1);
    await client.upload(upload, { sigs: [signPathInfo(upload.info, newKey('builder-1'))] });
    expect(await client.put(`/realisations/${id}.doi`, of(upload))).toMatchObject({ status: 400 });
  });
});

it('uploads that send nothing hold up no others, however many they are', async () => {
  const client = await setUpUploads();
  const silent = Array.from({ length: 40 }, () => {
    let end = (): void => {};
    const body = new ReadableStream({
      start: (controller) => {
        end = () => controller.close();
      },
    });
    return { answer: client.put(uploadOf(1).narUrl, body), end: () => end() };
  });
  expect(await client.upload(uploadOf(2))).toMatchObject({ status: 201 });
  for (const { end } of silent) end();
  for (const { answer } of silent) expect(await answer).toMatchObject({ status: 400 });
});

const filesIn = (directory: string) =>
  Promise.all(['incoming', 'nars', 'paths'].map((each) => readdir(join(directory, each))));

describe('what is kept', () => {
  it('gains signatures that are known to be right, whatever others there are', async () => {
    const key = newKey('team-1');
    const own = newKey('own-1');
    const client = await setUpUploads({ signingKeys: [own], trustedPublicKeys: [key.publicKey, own.publicKey] });
    const upload = uploadOf(1);
    const junk = Array.from({ length: 63 }, (_, i) => `junk-${i}:${'A'.repeat(86)}==`);
    expect(await client.upload(upload, { sigs: junk })).toMatchObject({ status: 201 });
    const put = (sigs: readonly string[]) => client.put(upload.narInfoUrl, formatNarInfo({ ...upload.info, sigs }));
    expect(await put([`more-1:${'A'.repeat(86)}==`])).toMatchObject({ status: 201 }); // the server's own does not count
    expect(await put([`more-2:${'A'.repeat(86)}==`])).toMatchObject({ status: 400 });
    const real = signPathInfo(upload.info, key);
    expect(await put([real])).toMatchObject({ status: 201 });
    expect((await client.get(upload.narInfoUrl)).text).toContain(`Sig: ${real}`);
  });

  it('has no signature that does things to a terminal', async () => {
    const client = await setUpUploads();
    const upload = uploadOf(1);
    await client.upload(upload, { sigs: [`a\x1b[31mb:${'A'.repeat(86)}==`, `a\x9bb:${'A'.repeat(86)}==`] });
    const { text } = await client.get(upload.narInfoUrl);
    expect(text.match(/^Sig: /gm)).toHaveLength(1);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
    expect(text).not.toMatch(/[\x1b\x9b]/);
  });

  it('goes after a day without a narinfo, and once the cache has it', async () => {
    let nowMs = Date.now();
    const reader = new MemoryCacheReader();
    const client = await setUpUploads({ reader, now: () => new Date(nowMs) });
    const [lonely, whole] = [uploadOf(1), uploadOf(2)];
    await client.put(lonely.narUrl, lonely.file);
    await client.upload(whole);
    nowMs += 23 * 3600 * 1000;
    await client.uploads.settle();
    expect((await filesIn(client.directory))[1]).toHaveLength(2);
    nowMs += 2 * 3600 * 1000;
    await client.uploads.settle();
    expect((await filesIn(client.directory))[1]).toEqual([whole.info.url.slice('nar/'.length)]);
    expect((await client.get(lonely.narUrl)).status).toBe(404);

    client.uploads.committed(client.uploads.uncommitted());
    await client.uploads.settle();
    expect((await client.get(whole.narInfoUrl)).status).toBe(200); // the registry may lag
    reader.add({ baseName: whole.path.slice(11), nar: whole.nar, compression: 'zstd', keys: [client.key] });
    await client.uploads.settle();
    expect(await filesIn(client.directory)).toEqual([[], [], []]);
    expect((await client.get(whole.narInfoUrl)).status).toBe(200);
  });

  it('does not pass for an index, which misses wait for', async () => {
    const reader = new MemoryCacheReader();
    const client = await setUpUploads({ reader });
    await client.upload(uploadOf(1));
    expect((await client.get('/health')).status).toBe(503);
    const state = JSON.parse((await client.get('/_status')).text);
    expect(state).toMatchObject({ entries: 1, index: { state: 'unread' }, uploads: { pending: 1 } });
    const published = uploadOf(2);
    const { promise, resolve } = Promise.withResolvers<void>();
    Object.assign(reader.faults, {
      refreshAfter: promise,
      published: { baseName: published.path.slice(11), nar: published.nar },
    });
    const refreshed = client.app.refresher.refresh();
    const asked = client.get(published.narInfoUrl);
    resolve();
    await refreshed;
    expect((await asked).status).toBe(200);
    expect((await client.get('/health')).status).toBe(200);
  });

  it('is told of where its record is lost, until it comes again, and its NAR stays', async () => {
    const [whole, cut] = [uploadOf(1), uploadOf(2)];
    const client = await setUpUploads();
    for (const each of [whole, cut]) await client.upload(each);
    await client.close();
    await truncate(join(client.directory, 'paths', cut.hashPart), 100);
    let nowMs = Date.now() + 1000;
    const again = await setUpUploads({ directory: client.directory, now: () => new Date(nowMs) });
    const state = async () => JSON.parse((await again.get('/_status')).text).uploads;
    expect(await state()).toMatchObject({ pending: 1, troubles: [{ path: cut.hashPart }] });
    expect((await state()).troubles[0].reason).not.toContain(client.directory);
    nowMs += 48 * 3600 * 1000;
    await again.uploads.settle();
    expect((await again.ask('HEAD', cut.narUrl, LOGIN)).status).toBe(200);
    expect((await again.put(cut.narInfoUrl, formatNarInfo(cut.info))).status).toBe(201);
    expect(await state()).toMatchObject({ pending: 2, troubles: [] });
  });

  it('is one process’s at a time, and what it does not understand is left alone', async () => {
    const client = await setUpUploads();
    await expect(setUpUploads({ directory: client.directory })).rejects.toThrow('another nixcache serve has it');
    const upload = uploadOf(1);
    await client.upload(upload);
    await writeFile(join(client.directory, 'paths', uploadOf(2).hashPart), '{"version":2}');
    await writeFile(join(client.directory, 'paths', 'junk'), 'junk');
    await client.close();
    const again = await setUpUploads({ directory: client.directory });
    expect((await again.get(upload.narInfoUrl)).status).toBe(200);
    expect(again.events.filter(({ type }) => type === 'upload-not-committed')).toHaveLength(2);
    expect((await filesIn(client.directory))[2]).toHaveLength(3);
  });
});
