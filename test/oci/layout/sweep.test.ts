import { mkdir, readdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { isNixcacheError } from '../../../src/errors.ts';
import type { Descriptor } from '../../../src/oci/descriptor.ts';
import { hexOf } from '../../../src/oci/digest.ts';
import { LayoutBlobs } from '../../../src/oci/layout/blobs.ts';
import { LayoutEditor } from '../../../src/oci/layout/editor.ts';
import { LayoutFiles } from '../../../src/oci/layout/files.ts';
import { LayoutIndexFile } from '../../../src/oci/layout/index.ts';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { sweepLayout } from '../../../src/oci/layout/sweep.ts';
import { decodeImageManifest, encodeManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { tossed } from '../../model/coin.ts';
import { describeBytes, noise, opener, readAll } from '../../support/bytes.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { age, ageBlobs, blobPath, newLayout, push, pushTagged, withClock } from './layouts.ts';

const DAY_MS = 86_400_000;

describe('a sweep', () => {
  it('frees what no tag reaches and keeps the rest, through indexes and manifests', async () => {
    const { path, store } = await newLayout();
    const kept = await pushTagged(store, 'child');
    const bytes = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [kept[0]] });
    const parent = await store.pushManifest('parent', IMAGE_INDEX, bytes);
    await store.deleteManifest(kept[0].digest);
    const dropped = await pushTagged(store, 'dropped');
    await store.deleteManifest(dropped[0].digest);
    const orphan = await push(store, noise(1234, 'orphan'));
    await ageBlobs(path);
    const freed = { blobs: 3, bytes: orphan.size + dropped[1].size + dropped[2].size };
    expect(await store.sweep({ graceSeconds: 3600, dryRun: true })).toEqual(freed);
    expect(await readdir(join(path, 'blobs', 'sha256'))).toHaveLength(7);
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual(freed);
    const names = [...kept, parent].map(({ digest }) => hexOf(digest));
    expect((await readdir(join(path, 'blobs', 'sha256'))).sort()).toEqual(names.sort());
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 0, bytes: 0 });
  });

  it('keeps what was pushed, adopted or asked for within the grace period', async () => {
    const { path, store } = await newLayout();
    const pushed = await push(store, noise(100, 'pushed'));
    const asked = await push(store, noise(100, 'asked'));
    const old = await push(store, noise(100, 'old'));
    const file = join(await store.ingestDirectory(), 'finished');
    await writeFile(file, noise(100, 'adopted'));
    await utimes(file, 0, 0);
    await ageBlobs(path);
    await store.adoptFile(describeBytes(noise(100, 'adopted')), file);
    expect(await store.pushBlob(pushed, opener(noise(100, 'pushed')))).toBe('existed');
    expect(await store.hasBlob(asked)).toBe(true);
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 1, bytes: 100 });
    expect(await store.hasBlob(old)).toBe(false);
    expect(await store.hasBlob(describeBytes(noise(100, 'adopted')))).toBe(true);
  });

  it('removes what dead writers left unfinished, and files of others it does not know stay', async () => {
    const { path, store } = await newLayout();
    const ingest = await store.ingestDirectory();
    await writeFile(join(ingest, 'left'), noise(700, 'left'));
    await age(ingest);
    await writeFile(join(ingest, 'live'), noise(10, 'live'));
    await writeFile(join(path, 'blobs', 'sha256', 'README'), 'not a blob');
    await ageBlobs(path);
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 0, bytes: 700 });
    expect(await readdir(ingest)).toEqual(['live']);
    expect(await readdir(join(path, 'blobs', 'sha256'))).toEqual(['README']);
  });

  describe.each([-3, 3])('by a machine whose clock is %i days off', (days) => {
    const off = <T>(use: () => Promise<T>): Promise<T> => withClock(days * DAY_MS, use);

    it('frees what is older than the grace period for the file system, and nothing else', async () => {
      const { path, store } = await newLayout();
      const old = await push(store, noise(100, 'old'));
      await ageBlobs(path);
      const young = await push(store, noise(100, 'young'));
      await writeFile(join(await store.ingestDirectory(), 'live'), noise(10, 'live'));
      const freed = { blobs: 1, bytes: 100 };
      expect(await off(() => store.sweep({ graceSeconds: 86_400, dryRun: true }))).toEqual(freed);
      expect(await off(() => store.sweep({ graceSeconds: 86_400 }))).toEqual(freed);
      expect([await store.hasBlob(old), await store.hasBlob(young)]).toEqual([false, true]);
      expect(await readdir(await store.ingestDirectory())).toEqual(['live']);
    });

    it('keeps what such a machine pushed, adopted, asked for or gave back', async () => {
      const { path, store } = await newLayout();
      const asked = await push(store, noise(100, 'asked'));
      const aside = await push(store, noise(100, 'aside'));
      const ingest = await store.ingestDirectory();
      await writeFile(join(ingest, 'finished'), noise(100, 'adopted'));
      await age(ingest);
      await ageBlobs(path);
      const pushed = await off(() => push(store, noise(100, 'pushed')));
      const adopted = describeBytes(noise(100, 'adopted'));
      await off(() => store.adoptFile(adopted, join(ingest, 'finished')));
      expect(await off(() => store.hasBlob(asked))).toBe(true);
      await rename(blobPath(path, aside), join(ingest, `doomed-${hexOf(aside.digest)}`));
      expect(await off(() => store.sweep({ graceSeconds: 3600 }))).toEqual({ blobs: 0, bytes: 0 });
      expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 0, bytes: 0 });
      for (const blob of [asked, aside, pushed, adopted]) expect(await store.hasBlob(blob)).toBe(true);
    });
  });

  it('leaves the unfinished files of an hour, however short the grace period: their writers are at work', async () => {
    const { store } = await newLayout();
    const ingest = await store.ingestDirectory();
    const written = (minutes: number): Date => new Date(Date.now() - minutes * 60_000);
    for (const minutes of [10, 50, 70]) {
      await writeFile(join(ingest, `${minutes}`), noise(700, minutes));
      await utimes(join(ingest, `${minutes}`), written(minutes), written(minutes));
    }
    expect(await store.sweep({ graceSeconds: 0 })).toEqual({ blobs: 0, bytes: 700 });
    expect((await readdir(ingest)).sort()).toEqual(['10', '50']);
  });

  it('removes directories of dead writers, and leaves those in which one is at work', async () => {
    const { store } = await newLayout();
    const ingest = await store.ingestDirectory();
    const elsewhere = await tempDir();
    await writeFile(join(elsewhere, 'precious'), 'x');
    for (const name of ['dead', 'alive']) {
      await mkdir(join(ingest, name));
      await writeFile(join(ingest, name, 'old'), noise(700, name));
    }
    await age(join(ingest, 'dead'));
    await age(join(ingest, 'alive'));
    await writeFile(join(ingest, 'alive', 'new'), noise(10, 'new'));
    await symlink(elsewhere, join(ingest, 'link'));
    await age(elsewhere);
    await age(ingest);
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 0, bytes: 1400 });
    await age(ingest);
    await store.sweep({ graceSeconds: 3600 });
    expect((await readdir(ingest)).sort()).toEqual(['alive', 'link']);
    expect(await readdir(join(ingest, 'alive'))).toEqual(['new']);
    expect(await readdir(elsewhere)).toEqual(['precious']);
  });

  it.each([
    ['application/vnd.oci.artifact.manifest.v1+json', (named: Descriptor) => ({ blobs: [named] })],
    [
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
      ({ digest }) => ({ fsLayers: [{ blobSum: digest }] }),
    ],
    ['application/vnd.example', ({ digest }) => ({ deep: { [`at example.org/x@${digest}`]: true } })],
  ] as readonly [string, (named: Descriptor) => object][])(
    'keeps what an object of kind %s names',
    async (mediaType, contentOf) => {
      const { path, store } = await newLayout();
      const named = await push(store, noise(300, 'named'));
      const object = {
        ...(await push(store, Buffer.from(JSON.stringify({ mediaType, ...contentOf(named) })))),
        mediaType,
      };
      const orphan = await push(store, noise(300, 'orphan'));
      await list(path, object);
      await ageBlobs(path);
      expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 1, bytes: 300 });
      expect(await store.hasBlob(orphan)).toBe(false);
      expect(await store.hasBlob(named)).toBe(true);
    },
  );

  it('keeps what a manifest names that is named by an object of unknown kind, or as a layer, too', async () => {
    const { path, store } = await newLayout();
    const image = await pushTagged(store, 'image');
    const nested = await pushTagged(store, 'nested');
    const config = await push(store, Buffer.from('{}'));
    const mediaType = 'application/vnd.example.list+json';
    const object = { ...(await push(store, Buffer.from(JSON.stringify({ about: image[0].digest })))), mediaType };
    const outer = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config, layers: [nested[0]] });
    await store.pushManifest('outer', IMAGE_MANIFEST, outer);
    for (const tag of ['image', 'nested']) await unlist(path, tag);
    await list(path, object);
    await ageBlobs(path);
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 0, bytes: 0 });
  });

  it('stops where what an object of unknown kind names cannot be read', async () => {
    const { path, store } = await newLayout();
    const garbled = await push(store, Buffer.from('{"blobs": ['));
    await push(store, noise(100, 'orphan'));
    await list(path, { ...garbled, mediaType: 'application/vnd.oci.artifact.manifest.v1+json' });
    await ageBlobs(path);
    await expect(store.sweep({ graceSeconds: 0 })).rejects.toMatchObject({ code: 'ERR_INDEX' });
    expect(await readdir(join(path, 'blobs', 'sha256'))).toHaveLength(2);
  });

  it.each(['lost', 'garbled'])('stops and deletes nothing when a tagged manifest is %s', async (how) => {
    const { path, store } = await newLayout();
    const [manifest] = await pushTagged(store, 'kept');
    await push(store, noise(100, 'orphan'));
    await (how === 'lost' ? rm(blobPath(path, manifest)) : writeFile(blobPath(path, manifest), '{}'));
    await ageBlobs(path);
    const before = await readdir(join(path, 'blobs', 'sha256'));
    await expect(store.sweep({ graceSeconds: 0 })).rejects.toMatchObject({ code: 'ERR_INDEX' });
    expect(await readdir(join(path, 'blobs', 'sha256'))).toEqual(before);
  });

  it('is not stopped by a tagged manifest that somebody deletes meanwhile', async () => {
    const { path, store } = await newLayout();
    const other = await LayoutStore.open(path, { create: true });
    const pushed = [];
    for (let at = 0; at < 25; at += 1) pushed.push(await pushTagged(store, `deleted-${at}`));
    let isOver = false;
    const deleting = (async () => {
      for (const [{ digest }] of pushed) await store.deleteManifest(digest);
      isOver = true;
    })();
    while (!isOver) await other.sweep({ graceSeconds: 3600, dryRun: true });
    await deleting;
    expect(await other.listTags()).toEqual([]);
  });

  it('gives back what a killed sweep had taken away', async () => {
    const { path, store } = await newLayout();
    const [, , layer] = await pushTagged(store, 'kept');
    await rename(blobPath(path, layer), join(await store.ingestDirectory(), `doomed-${hexOf(layer.digest)}`));
    await store.sweep({ graceSeconds: 3600 });
    expect(await store.hasBlob(layer)).toBe(true);
  });

  it('gives it back as new, for a publisher may have been told of it meanwhile', async () => {
    const { path, store } = await newLayout();
    await pushTagged(store, 'other');
    const blob = await push(store, noise(100, 'unnamed yet'));
    await ageBlobs(path);
    await rename(blobPath(path, blob), join(await store.ingestDirectory(), `doomed-${hexOf(blob.digest)}`));
    expect(await store.sweep({ graceSeconds: 3600 })).toEqual({ blobs: 0, bytes: 0 });
    expect((await readdir(join(path, 'blobs', 'sha256'))).sort()).toContain(hexOf(blob.digest));
  });

  it('gives a blob back that somebody was told is there after it was found to be old', async () => {
    const { path, store } = await newLayout();
    await pushTagged(store, 'other');
    const blob = await push(store, noise(100, 'wanted again'));
    await ageBlobs(path);
    const files = new LayoutFiles(path);
    const [index, blobs] = [new LayoutIndexFile(files), new LayoutBlobs(files)];
    const editor = new LayoutEditor(files, index);
    let edits = 0;
    const edit: LayoutEditor['edit'] = async (change, options) => {
      edits += 1;
      // The first gives back what an earlier sweep left.
      if (edits === 2) expect(await store.hasBlob(blob)).toBe(true);
      return editor.edit(change, options);
    };
    const layout = { files, index, blobs, editor: { edit } as unknown as LayoutEditor };
    expect(await sweepLayout(layout, { graceSeconds: 3600 })).toEqual({ blobs: 0, bytes: 0 });
    expect(edits).toBe(2);
    expect(await readAll(await store.fetchBlob(blob))).toEqual(noise(100, 'wanted again'));
  });

  it('takes nothing from publishers who were told that their blobs exist, while they commit', async () => {
    const { path, store } = await newLayout();
    const other = await LayoutStore.open(path, { create: true });
    const coin = tossed();
    const layers = Array.from({ length: 60 }, (_, at) => noise(200, `raced ${at}`));
    const config = await push(store, Buffer.from('{}'));
    for (let round = 0; round < 5; round += 1) {
      for (const bytes of layers) await push(store, bytes);
      await ageBlobs(path);
      const publishing = layers.map(async (bytes, at) => {
        await sleep(coin.next(15));
        const layer = await push(store, bytes);
        const manifest = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config, layers: [layer] });
        await store.pushBlob(config, opener(Buffer.from('{}')));
        return store.pushManifest(`raced-${at}`, IMAGE_MANIFEST, manifest);
      });
      const sweeping = (async () => {
        for (let sweep = 0; sweep < 3; sweep += 1) await other.sweep({ graceSeconds: 60 });
      })();
      const manifests = await Promise.all(publishing);
      await sweeping;
      for (const bytes of layers) expect(await store.hasBlob(describeBytes(bytes))).toBe(true);
      await Promise.all(manifests.map(({ digest }) => store.deleteManifest(digest)));
    }
  });

  it('leaves every manifest whole that was pushed meanwhile over old blobs, or has had it refused', async () => {
    const { path, store } = await newLayout();
    const other = await LayoutStore.open(path, { create: true });
    const config = await push(store, Buffer.from('{}'));
    const layers: Descriptor[] = [];
    for (let at = 0; at < 600; at += 1) layers.push(await push(store, noise(20, `old ${at}`)));
    await ageBlobs(path);
    await store.pushBlob(config, opener(Buffer.from('{}')));
    const outcomes = { pushed: 0, refused: 0 };
    // The sweep begins when some are pushed, and is over before the last: neither outcome is left to chance.
    let sweeping: Promise<unknown> | undefined;
    for (const [at, layer] of layers.entries()) {
      if (at === 100) sweeping = other.sweep({ graceSeconds: 3600 });
      if (at === 500) await sweeping;
      const bytes = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config, layers: [layer] });
      const pushed = await store.pushManifest(`over-${at}`, IMAGE_MANIFEST, bytes).catch((error: unknown) => {
        if (!isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw error;
      });
      outcomes[pushed ? 'pushed' : 'refused'] += 1;
      if (pushed) expect(await readAll(await store.fetchBlob(layer))).toHaveLength(20);
    }
    expect(await store.listTags()).toHaveLength(outcomes.pushed);
    for (const tag of await store.listTags()) {
      const manifest = await store.fetchManifest(tag);
      const [layer] = decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), tag).layers;
      expect(layer && (await store.hasBlob(layer))).toBe(true);
    }
    expect(Math.min(outcomes.pushed, outcomes.refused)).toBeGreaterThan(0);
  });
});

/** As other tools do: an object of any kind in index.json, without a tag. */
const list = (path: string, object: Descriptor): Promise<void> =>
  editIndex(path, (manifests) => [...manifests, object]);

/** The object stays, and its tag goes. */
const unlist = (path: string, tag: string): Promise<void> =>
  editIndex(path, (manifests) =>
    manifests.filter(({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] !== tag),
  );

async function editIndex(path: string, edit: (manifests: readonly Descriptor[]) => readonly Descriptor[]) {
  const file = join(path, 'index.json');
  const json = JSON.parse(await readFile(file, 'utf8')) as { manifests: Descriptor[] };
  await writeFile(file, JSON.stringify({ ...json, manifests: edit(json.manifests) }));
}
