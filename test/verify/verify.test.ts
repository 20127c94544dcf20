import { describe, expect, it, test } from 'vitest';
import { replaceCacheIndex } from '../../src/cache/write/cache-index.ts';
import * as mediaTypes from '../../src/cache-index/media-types.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { encodeManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { baseNameFor, CacheBuilder, openReader } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { flipped, memoryVandal, segmentAt, tagsOf, truncated, type Vandal, vandals } from '../support/vandal.ts';
import { kindsOf, verify } from '../support/verify-runs.ts';

import { commitAltered, entriesOf, filled, reindex, segmentDescriptorAt } from './altered-caches.ts';

const [first, second] = [0, 1];
const layer = async (store: ContentStore, at: number, mediaType: string) => {
  const tag = (await tagsOf(store, 'segment'))[at] ?? '';
  const found = (await segmentAt(store, tag)).manifest.layers.find((each) => each.mediaType === mediaType);
  if (!found) throw new Error(`${tag} has no ${mediaType}`);
  return found.digest;
};
const manifestDigest = async (store: ContentStore, at: number) =>
  (await segmentAt(store, (await tagsOf(store, 'segment'))[at] ?? '')).descriptor.digest;

interface Case {
  readonly name: string;
  readonly plant: (vandal: Vandal) => Promise<unknown>;
  readonly kinds: readonly string[];
  readonly contents?: boolean;
}

const cases: readonly Case[] = [
  {
    name: 'a manifest that is gone',
    plant: async ({ store, remove }) => remove(await manifestDigest(store, second)),
    kinds: ['segment-missing', 'cache-index-stale'],
  },
  {
    name: 'an entries blob that is gone',
    plant: async ({ store, remove }) => remove(await layer(store, first, mediaTypes.ENTRIES)),
    kinds: ['entries-missing', 'missing-reference'],
  },
  {
    name: 'an entries blob with another byte',
    plant: async ({ store, alter }) => alter(await layer(store, first, mediaTypes.ENTRIES), flipped),
    kinds: ['entries-damaged', 'missing-reference'],
  },
  {
    name: 'a NAR that is gone',
    plant: async ({ store, remove }) => remove(await layer(store, second, mediaTypes.NAR)),
    kinds: ['blob-missing'],
  },
  {
    name: 'a pack that is gone',
    plant: async ({ store, remove }) => remove(await layer(store, first, mediaTypes.PACK)),
    kinds: ['blob-missing'],
  },
  {
    name: 'a NAR that was cut short',
    plant: async ({ store, alter }) => alter(await layer(store, second, mediaTypes.NAR), truncated),
    kinds: ['blob-damaged'],
  },
  {
    name: 'a NAR with another byte, when contents are read',
    plant: async ({ store, alter }) => alter(await layer(store, second, mediaTypes.NAR), flipped),
    kinds: ['nar-corrupt'],
    contents: true,
  },
  {
    name: 'a pack with another byte, when contents are read',
    plant: async ({ store, alter }) => alter(await layer(store, first, mediaTypes.PACK), flipped),
    kinds: ['blob-damaged', 'nar-corrupt'],
    contents: true,
  },
  {
    name: 'a config that is gone',
    plant: async ({ store, remove }) => {
      const tag = (await tagsOf(store, 'segment'))[second] ?? '';
      await remove((await segmentAt(store, tag)).manifest.config.digest);
    },
    kinds: ['config-damaged'],
  },
  {
    name: 'a config that counts wrong',
    plant: async ({ store }) => {
      await commitAltered(store, await entriesOf(store), { config: () => ({ entryCount: 7 }) });
      await reindex(store);
    },
    kinds: ['config-inconsistent'],
  },
  {
    name: 'entries that are not sorted',
    plant: async ({ store }) => {
      await commitAltered(store, await entriesOf(store), {
        text: (text) => `${text.trimEnd().split('\n\n').reverse().join('\n\n')}\n`,
      });
      await reindex(store);
    },
    kinds: ['entries-unsorted'],
  },
  {
    name: 'an entry that cannot be read',
    plant: async ({ store }) => {
      const entries = await entriesOf(store);
      await commitAltered(store, entries, { text: (text) => text.replace(/^NarSize: .*$/m, 'NarSize: many') });
      await reindex(store);
    },
    kinds: ['entry-damaged'],
  },
  {
    name: 'an entry that not even its path can be read of',
    plant: async ({ store }) => {
      const entries = await entriesOf(store);
      await commitAltered(store, entries, { text: (text) => text.replace(/^StorePath: .*$/m, 'StorePath: /tmp/x') });
      const segments = new Map();
      for (const tag of await tagsOf(store, 'segment')) segments.set(tag, await segmentDescriptorAt(store, tag));
      await replaceCacheIndex(store, { segments, publicKeys: [], now: day(9) });
    },
    kinds: ['entries-damaged', 'entry-damaged'],
  },
  {
    name: 'a narinfo that Nix would write otherwise',
    plant: async ({ store }) => {
      await commitAltered(store, await entriesOf(store), {
        text: (text) => text.replace('References: ', 'Sig: x\nReferences: '),
      });
      await reindex(store);
    },
    kinds: ['entry-malformed'],
  },
  {
    name: 'a URL that is not made of the file hash',
    plant: async ({ store }) => {
      await commitAltered(store, await entriesOf(store), {
        text: (text) => text.replace(/^URL: .*$/m, 'URL: nar/x.nar.zst'),
      });
      await reindex(store);
    },
    kinds: ['entry-malformed'],
  },
  {
    name: 'a blob that the manifest does not name',
    plant: async ({ store }) => {
      await commitAltered(store, await entriesOf(store), { layers: false });
      await reindex(store);
    },
    kinds: ['blob-unreachable'],
  },
  {
    name: 'a second tag on a manifest',
    plant: async ({ store }) => {
      const stored = await store.fetchManifest((await tagsOf(store, 'segment'))[0] ?? '');
      await store.pushManifest('latest', IMAGE_MANIFEST, stored?.bytes ?? Buffer.alloc(0));
    },
    kinds: ['duplicate-digest'],
  },
  {
    name: 'a cache-index that lacks a segment',
    plant: ({ store }) => new CacheBuilder(store).publish({ at: day(2), paths: ['more'], index: false }),
    kinds: ['cache-index-stale'],
  },
  {
    name: 'a cache-index of another tool',
    plant: async ({ store }) => {
      const foreign = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [] });
      await store.pushManifest('cache-index', IMAGE_INDEX, foreign);
    },
    kinds: ['cache-index-foreign'],
  },
  {
    name: 'a root and a pin that are nowhere',
    plant: ({ store }) => {
      const pins = [{ name: 'stable', path: baseNameFor('gone'), time: 1 }];
      return new CacheBuilder(store).publish({ at: day(2), roots: ['absent'], pins });
    },
    kinds: ['pin-dangling', 'root-dangling'],
  },
  {
    name: 'a reference that is nowhere',
    plant: ({ store }) =>
      new CacheBuilder(store).publish({ at: day(2), paths: [{ name: 'lonely', references: ['nowhere'] }] }),
    kinds: ['missing-reference'],
  },
  {
    name: 'a checkpoint whose config is gone',
    plant: async ({ store, remove }) => {
      await gcAt(store, day(3));
      const [tag = ''] = await tagsOf(store, 'checkpoint');
      await remove(`sha256:${tag.slice(-64)}` as never);
    },
    kinds: ['checkpoint-unreadable', 'cache-index-stale'],
  },
  {
    name: 'a checkpoint whose record is gone',
    plant: async ({ store }) => {
      await gcAt(store, day(3));
      const [record = ''] = await tagsOf(store, 'record');
      const digest = (await store.resolve(record))?.digest;
      if (digest && 'deleteManifest' in store) await (store.deleteManifest as (digest: string) => unknown)(digest);
    },
    kinds: ['checkpoint-damaged'],
  },
];

describe.each(vandals)('verify of %s', (_, open) => {
  it('finds nothing in a cache that is as it should be', async () => {
    const { store } = await open();
    await filled(store);
    await gcAt(store, day(2));
    await new CacheBuilder(store).publish({ at: day(3), paths: [{ name: 'late', references: ['app'] }] });
    const { findings, checked } = await verify(store, { contents: true, now: () => day(3) });
    expect(kindsOf(findings)).toEqual([]);
    expect(checked).toMatchObject({ segments: 2, entries: 4, checkpoints: 1, nars: 4 });
  });

  it('counts a path once whose NAR lies in two segments', async () => {
    const { store } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'b'] });
    await cache.publish({ at: day(1), paths: ['c', 'a'] });
    const { checked } = await verify(store, { contents: true, now: () => day(3) });
    expect(checked).toMatchObject({ entries: 3, nars: 3 });
  });

  it('says how large the NARs are that it read, and how much of that travels', async () => {
    const { store } = await open();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'b'] });
    await cache.publish({ at: day(1), paths: ['c', 'a'] });
    const entries = [...(await openReader(store)).entries()].map(({ entry }) => entry.narInfo);
    const sumOf = (size: 'narSize' | 'fileSize'): number => entries.reduce((sum, info) => sum + info[size], 0);
    const sizes = { nars: 3, narBytes: sumOf('narSize'), fileBytes: sumOf('fileSize') };
    expect((await verify(store, { contents: true, now: () => day(3) })).checked).toMatchObject(sizes);
    expect(sizes.narBytes).not.toBe(sizes.fileBytes);
  });

  it('does not call a cache well that was never written', async () => {
    const { store } = await open();
    await expect(verify(store)).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringContaining(store.name),
    });
  });

  it.each(cases)('finds $name', async ({ plant, kinds, contents = false }) => {
    const vandal = await open();
    await filled(vandal.store);
    await plant(vandal);
    const { findings } = await verify(vandal.store, { contents, now: () => day(9) });
    expect(kindsOf(findings)).toEqual([...kinds].sort());
    // The text is all that a person sees of a finding.
    for (const { kind, what, message } of findings)
      if (/^(segment|config)-/.test(kind)) expect(message).toContain(what);
  });

  it('finds only by reading what is the right bytes of the wrong NAR', async () => {
    const { store } = await open();
    const cache = await filled(store);
    const [entry] = await entriesOf(store);
    if (!entry) throw new Error('no entry');
    const other = (await cache.publish({ at: day(2), paths: ['x'] })) && entry;
    await commitAltered(store, [other], {
      text: (text) => text.replace(/^NarHash: .*$/m, `NarHash: ${entry.narInfo.fileHash}`),
    });
    await reindex(store);
    expect(kindsOf((await verify(store)).findings)).toEqual([]);
    expect(kindsOf((await verify(store, { contents: true })).findings)).toEqual(['nar-mismatch']);
  });
});

test('a registry that fails is no damage', async () => {
  const { store } = memoryVandal();
  await filled(store);
  const broken = new Proxy(store, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (name === 'hasBlob') {
        return async () => {
          throw Object.assign(new (await import('../../src/errors.ts')).NixcacheError('ERR_NETWORK', 'cut off'));
        };
      }
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
  await expect(verify(broken)).rejects.toMatchObject({ code: 'ERR_NETWORK' });
});
