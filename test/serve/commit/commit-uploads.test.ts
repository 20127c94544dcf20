/** How uploads get into the cache: references first, all or what can, over a registry that fails. */
import { rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DiskSpool } from '../../../src/cache/disk/spool.ts';
import { healing } from '../../../src/cache/read/healing-reader.ts';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { formatNarInfo, parseNarInfo } from '../../../src/nix/nar-info.ts';
import { signPathInfo } from '../../../src/nix/signature.ts';
import { hashPartOf, parseBaseName, parseStorePath } from '../../../src/nix/store-path.ts';
import { commitUploads } from '../../../src/serve/commit/commit-uploads.ts';
import { type CommitDelays, CommitTimer } from '../../../src/serve/node/commit-timer.ts';
import type { Uploads } from '../../../src/serve/upload/uploads.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { newKey } from '../set-up.ts';
import { type Client, setUpUploads, type Upload, uploadOf } from '../upload/set-up.ts';

async function setUp(directory?: string, store = new MemoryStore(), { maxPaths = 2000 } = {}) {
  const cached = await IndexReader.open({ store, strict: false, use: 'lazily' });
  const client = await setUpUploads({ reader: healing(cached), directory });
  const warnings: string[] = [];
  const commit = async (signal?: AbortSignal): Promise<boolean> => {
    const reader = await IndexReader.open({ store, strict: true, sparse: true });
    await using spool = new DiskSpool(store);
    try {
      return await commitUploads({
        ...{ uploads: client.uploads, store, reader, spool, signal, creator: 'test' },
        onWarning: (message) => warnings.push(message),
        now: () => new Date(),
        maxPaths,
      });
    } finally {
      reader.close();
    }
  };
  const settle = async (): Promise<void> => {
    await cached.refresh();
    await client.uploads.settle();
  };
  return { ...client, client, store, cached, commit, settle, warnings };
}

const name = ({ path }: Upload): string => path.slice('/nix/store/'.length);
const whole = async (client: Client, upload: Upload): Promise<boolean> => {
  const { text } = await client.get(upload.narInfoUrl);
  return (await client.get(`/${parseNarInfo(text).url}`)).bytes.equals(upload.file);
};

describe('uploads', () => {
  it('are committed in one segment, references first, and let go of', async () => {
    const { client, commit, settle, cached, uploads, store } = await setUp();
    const [base, middle] = [uploadOf(1), uploadOf(2, { text: 'x'.repeat(200_000), references: [name(uploadOf(1))] })];
    const top = uploadOf(3, { references: [name(base), name(middle), name(uploadOf(3))].sort() });
    for (const each of [base, middle, top]) expect(await client.upload(each)).toMatchObject({ status: 201 });
    expect(await commit()).toBe(false);
    expect(uploads.uncommitted()).toEqual([]);
    expect((await store.listTags()).filter((tag) => tag.startsWith('seg-'))).toHaveLength(1);
    expect(await store.listTags()).toContain('cache-index');
    await settle();
    expect(uploads.pending.size).toBe(0);
    expect(uploads.nars.get(top.info.url.slice('nar/'.length))).toBeUndefined();
    for (const each of [base, middle, top]) {
      expect(await whole(client, each)).toBe(true);
      expect(cached.findEntry(hashPartOf(each.info.path))?.listing).toBeDefined();
    }
  });

  it('wait while the registry is away, readable all the time, and go when it is back', async () => {
    let isAway = true;
    const onCall = (method: string): void => {
      if (isAway && method === 'pushManifest') throw new NixcacheError('ERR_NETWORK', 'away');
    };
    const store = new MemoryStore({ onCall });
    const { client, commit, settle, uploads } = await setUp(undefined, store);
    const upload = uploadOf(1);
    await client.upload(upload);
    await expect(commit()).rejects.toThrow('away');
    isAway = false;
    expect(await whole(client, upload)).toBe(true);
    expect(uploads.uncommitted()).toHaveLength(1);
    await commit();
    await settle();
    expect(await whole(client, upload)).toBe(true);
  });

  it('are not committed twice by the process after one that was killed', async () => {
    const { client, commit, store, directory, close } = await setUp();
    await client.upload(uploadOf(1));
    await commit();
    await close(); // the record is still there
    const again = await setUp(directory, store);
    expect(again.uploads.uncommitted()).toHaveLength(1);
    await again.commit();
    await again.settle();
    expect((await store.listTags()).filter((tag) => tag.startsWith('seg-'))).toHaveLength(1);
    expect(again.uploads.pending.size).toBe(0);
  });

  it('that are damaged on the disk hold up themselves and what refers to them, and say so', async () => {
    const { client, commit, settle, uploads, directory, cached } = await setUp();
    const [good, bad] = [uploadOf(1), uploadOf(2)];
    const above = uploadOf(3, { references: [name(bad)] });
    for (const each of [good, bad, above]) await client.upload(each);
    await writeFile(join(directory, 'nars', bad.info.url.slice('nar/'.length)), bad.file.toReversed());
    await commit();
    await settle();
    expect(cached.findEntry(hashPartOf(good.info.path))).toBeDefined();
    expect(cached.findEntry(hashPartOf(above.info.path))).toBeUndefined();
    const { troubles } = uploads.status();
    expect(troubles.map(({ path }) => path).sort()).toEqual([bad.path, above.path].sort());
    expect(troubles.map(({ reason }) => reason).join()).toContain('upload the path again');
    await client.put(bad.narUrl, bad.file);
    await commit();
    expect(uploads.uncommitted()).toEqual([]);
  });

  it('that lost what they refer to wait for it', async () => {
    const { client, commit, uploads } = await setUp();
    const [base, above] = [uploadOf(1), uploadOf(2, { references: [name(uploadOf(1))] })];
    await client.upload(base);
    await client.upload(above);
    uploads.pending.delete(hashPartOf(base.info.path));
    await commit();
    expect(uploads.status().troubles).toMatchObject([
      { path: above.path, reason: expect.stringContaining(name(base)) },
    ]);
    await client.upload(base);
    await commit();
    expect(uploads.uncommitted()).toEqual([]);
  });

  it('that the cache has with other contents by now are let go of, and say so', async () => {
    const other = await setUp();
    const { client, commit, settle, uploads, get } = await setUp(undefined, other.store);
    const [theirs, ours] = [uploadOf(1, { text: 'theirs' }), uploadOf(1, { text: 'ours' })];
    await other.client.upload(theirs);
    await other.commit();
    await client.upload(ours); // whose server has not seen the other yet
    await commit();
    await settle();
    expect(uploads.pending.size).toBe(0);
    expect(parseNarInfo((await get(ours.narInfoUrl)).text).narHash).toBe(theirs.info.narHash);
    expect(await whole(client, theirs)).toBe(true);
    expect(uploads.status().troubles).toMatchObject([
      { path: ours.path, reason: expect.stringContaining('those stay') },
    ]);
  });

  it('that the cache has by now keep what others signed', async () => {
    const other = await setUp();
    const { client, commit, settle, get } = await setUp(undefined, other.store);
    const upload = uploadOf(1);
    const sigs = [signPathInfo(upload.info, newKey('builder-1'))];
    await other.client.upload(upload, { sigs });
    await other.commit();
    await client.upload(upload, { sigs: [signPathInfo(upload.info, newKey('builder-2'))] });
    await commit();
    await settle();
    const names = parseNarInfo((await get(upload.narInfoUrl)).text).sigs.map((sig) => sig.split(':')[0]);
    expect(names).toEqual(expect.arrayContaining(['builder-1', 'builder-2']));
  });

  it('with realisations that are another path in the cache by now let go of those', async () => {
    const other = await setUp();
    const { client, commit, settle, uploads, get } = await setUp(undefined, other.store);
    const id = `sha256:${'0f'.repeat(32)}!out`;
    const of = (upload: Upload): string =>
      JSON.stringify({ dependentRealisations: {}, id, outPath: name(upload), signatures: [] });
    const [theirs, ours] = [uploadOf(1), uploadOf(2)];
    await other.client.upload(theirs);
    expect(await other.client.put(`/realisations/${id}.doi`, of(theirs))).toMatchObject({ status: 201 });
    await other.commit();
    await client.upload(ours);
    expect(await client.put(`/realisations/${id}.doi`, of(ours))).toMatchObject({ status: 201 });
    await commit();
    await settle();
    expect(JSON.parse((await get(`/realisations/${id}.doi`)).text)).toMatchObject({ outPath: name(theirs) });
    expect(await whole(client, ours)).toBe(true);
    expect(uploads.status().troubles).toMatchObject([{ path: ours.path, reason: expect.stringContaining(id) }]);
  });

  it('that refer to another name with the hash of what the cache has are left alone, and say so', async () => {
    const { client, commit, settle, uploads, cached } = await setUp();
    const base = uploadOf(1);
    await client.upload(base);
    await commit();
    await settle();
    const above = uploadOf(2, { references: [name(base)] });
    await client.upload(above);
    const pending = uploads.pending.get(hashPartOf(above.info.path));
    const references = [parseBaseName(`${name(base)}-other`)];
    if (pending) uploads.pending.set({ ...pending, narInfo: { ...pending.narInfo, references } });
    await commit();
    expect(cached.findEntry(hashPartOf(above.info.path))).toBeUndefined();
    expect(uploads.status().troubles).toMatchObject([{ reason: expect.stringContaining(`is called ${name(base)}`) }]);
  });

  it('that cannot be committed hold up no others, however many they are', async () => {
    const { client, commit, uploads, directory } = await setUp(undefined, new MemoryStore(), { maxPaths: 2 });
    const base = uploadOf(1);
    const lacking = [2, 3, 4].map((seed) => uploadOf(seed, { references: [name(base)] }));
    const [damaged, good] = [
      [5, 6, 7],
      [8, 9, 10],
    ].map((seeds) => seeds.map((seed) => uploadOf(seed))) as [Upload[], Upload[]];
    for (const each of [base, ...lacking, ...damaged]) await client.upload(each);
    uploads.pending.delete(hashPartOf(base.info.path));
    for (const [i, { info }] of damaged.entries()) {
      const path = join(directory, 'nars', info.url.slice('nar/'.length));
      await rm(path);
      // One cannot be read at all.
      if (i > 0) await writeFile(path, 'damaged');
      else await symlink('/dev/null', path);
    }
    while (await commit());
    for (const each of good) await client.upload(each);
    while (await commit());
    const left = uploads.uncommitted().map(({ narInfo }) => narInfo.path as string);
    expect(left.sort()).toEqual([...lacking, ...damaged].map(({ path }) => path).sort());
    // Each has its turn, so that what was mended is committed although others were not.
    const last = damaged[2] as Upload;
    await client.upload(last);
    await client.upload(base);
    for (let i = 0; i < 4; i++) while (await commit());
    expect(uploads.uncommitted()).toHaveLength(2);
    expect(uploads.pending.get(hashPartOf(last.info.path))?.isCommitted).toBe(true);
  });

  it('for another store than the cache is for by now hold up no others', async () => {
    const { commit, client, uploads, settle, cached } = await setUp();
    await client.upload(uploadOf(1));
    await commit();
    await settle();
    const { narInfo, ...rest } = { ...uploadOf(2), narInfo: uploadOf(2).info };
    expect(rest.path).toBe(narInfo.path);
    await client.upload(uploadOf(2));
    const pending = uploads.pending.get(hashPartOf(narInfo.path));
    if (pending === undefined) throw new Error('it waits');
    const path = parseStorePath(`/other/store/${name(uploadOf(3))}`, '/other/store');
    uploads.pending.set({ ...pending, narInfo: { ...pending.narInfo, path } });
    await client.upload(uploadOf(4));
    await commit();
    await settle();
    expect(cached.findEntry(hashPartOf(uploadOf(4).info.path))).toBeDefined();
    expect(uploads.status().troubles).toMatchObject([{ path, reason: expect.stringContaining('for /nix/store') }]);
  });

  it('of what the cache has list it again, with more signatures', async () => {
    const { client, commit, settle, cached, put } = await setUp();
    const upload = uploadOf(1);
    await client.upload(upload);
    await commit();
    await settle();
    const sigs = [signPathInfo(upload.info, newKey('builder-1'))];
    expect(await put(upload.narInfoUrl, formatNarInfo({ ...upload.info, sigs }))).toMatchObject({ status: 201 });
    await commit();
    await settle();
    const entry = cached.findEntry(hashPartOf(upload.info.path));
    expect(entry?.narInfo.sigs).toHaveLength(2);
    expect(await whole(client, upload)).toBe(true);
  });
});

describe('the timer', () => {
  const delays: CommitDelays = { quietMs: 1, mostMs: 5, retryMs: 1, mostRetryMs: 5, settleMs: 1000 };
  const setUpTimer = async (commit: (uploads: Uploads) => Promise<boolean>) => {
    const client = await setUpUploads();
    const timer = new CommitTimer({
      uploads: client.uploads,
      commit: () => commit(client.uploads),
      delays,
    });
    onTestFinished(() => timer.drain(10));
    return { client, timer };
  };

  it('commits what comes, again and again while it fails, and tells of that once', async () => {
    let calls = 0;
    const { client } = await setUpTimer(async (uploads) => {
      calls += 1;
      if (calls < 4) throw new Error('the registry is away');
      uploads.committed(uploads.uncommitted());
      return false;
    });
    await client.upload(uploadOf(1));
    await expect.poll(() => client.uploads.uncommitted().length).toBe(0);
    expect(calls).toBe(4);
    const told = client.events.filter(({ type }) => type === 'uploads-waiting' || type === 'uploads-committed');
    expect(told).toMatchObject([{ type: 'uploads-waiting', error: 'the registry is away' }, { paths: 1 }]);
    expect(client.uploads.status().lastError).toBeUndefined();
  });

  it('commits the rest at the end, and gives up in time', async () => {
    let isAway = true;
    const { client, timer } = await setUpTimer(async (uploads) => {
      if (isAway) throw new Error('away');
      uploads.committed(uploads.uncommitted());
      return false;
    });
    await client.upload(uploadOf(1));
    const startedMs = performance.now();
    await timer.drain(100);
    expect(performance.now() - startedMs).toBeLessThan(5000);
    expect(client.uploads.uncommitted()).toHaveLength(1);
    isAway = false;
    const next = await setUpTimer(async (uploads) => {
      uploads.committed(uploads.uncommitted());
      return false;
    });
    await next.client.upload(uploadOf(2));
    await next.timer.drain(5000);
    expect(next.client.uploads.uncommitted()).toEqual([]);
  });
});
