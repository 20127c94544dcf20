/** Ways to get the protocol wrong, each around the real code: what it does reaches the registry otherwise, or with other numbers. */
import { Readable } from 'node:stream';
import { zstdCompressSync } from 'node:zlib';
import { tagOf } from '../../src/cache-index/checkpoint.ts';
import { decodeEntries } from '../../src/cache-index/entries-blob.ts';
import { ENTRIES, SEGMENT_CONFIG } from '../../src/cache-index/media-types.ts';
import { CACHE_INDEX_TAG, parseTag } from '../../src/cache-index/tags.ts';
import { isNixcacheError } from '../../src/errors.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { describe } from '../../src/oci/descriptor.ts';
import { decodeImageIndex } from '../../src/oci/manifest.ts';
import { readAll } from '../support/bytes.ts';
import { FAITHFUL } from './scenario.ts';
import type { ActorKind, Behaviour, ModelStore } from './world.ts';

export const kindOfTag = (tag: string) => parseTag(tag)?.kind;

/** `store` with some calls done otherwise. */
export const overriding = (store: ModelStore, overrides: Partial<ModelStore>): ModelStore =>
  new Proxy(store, {
    get: (target, key) => {
      const value: unknown = Reflect.get(key in overrides ? overrides : target, key, target);
      return typeof value === 'function' && !(key in overrides) ? value.bind(target) : value;
    },
  });

/** The behaviour in which only actors of `kind` go about it the way `change` says. */
const changing = (kind: ActorKind, change: (store: ModelStore) => Partial<ModelStore>): Behaviour['wrap'] => {
  return (store, actor) => (actor === kind ? overriding(store, change(store)) : store);
};

/** Whoever deletes something takes away the tombstones first. */
const dropsTombstones = (store: ModelStore): Partial<ModelStore> => ({
  deleteManifest: async (digest) => {
    for (const tag of await store.listTags()) {
      const checkpoint = kindOfTag(tag) === 'checkpoint' ? await store.resolve(tag) : undefined;
      if (checkpoint) await store.deleteManifest(checkpoint.digest);
    }
    return store.deleteManifest(digest);
  },
});

/** A segment exists if `cache-index` says so, and who writes `cache-index` writes what it read when it began. */
function trustsCacheIndex(store: ModelStore): Partial<ModelStore> {
  let first: ReturnType<ContentStore['fetchManifest']> | undefined;
  const fetchIndex = (): NonNullable<typeof first> => {
    first ??= store.fetchManifest(CACHE_INDEX_TAG);
    return first;
  };
  return {
    fetchManifest: (reference) => (reference === CACHE_INDEX_TAG ? fetchIndex() : store.fetchManifest(reference)),
    listTags: async () => {
      const index = await store.fetchManifest(CACHE_INDEX_TAG);
      const manifests = index ? decodeImageIndex(index.bytes, CACHE_INDEX_TAG).manifests : [];
      const listed = new Set(manifests.flatMap((descriptor) => tagOf(descriptor) ?? []));
      return (await store.listTags()).filter((tag) => kindOfTag(tag) !== 'segment' || listed.has(tag));
    },
  };
}

/** Blobs follow the manifest that names them. */
function commitsBeforeBlobs(store: ModelStore): Partial<ModelStore> {
  let late: (() => Promise<unknown>)[] = [];
  return {
    pushBlob: async (expected, open, options) => {
      late.push(() => store.pushBlob(expected, open, options));
      return 'pushed';
    },
    pushManifest: async (tag, mediaType, bytes, options) => {
      const descriptor = await store.pushManifest(tag, mediaType, bytes, options);
      for (const push of late.splice(0)) await push();
      late = [];
      return descriptor;
    },
  };
}

/** The segments that a compaction writes follow the checkpoint that replaces what they were made from. */
export function killsBeforeItWrites(store: ModelStore): Partial<ModelStore> {
  const late: (() => Promise<unknown>)[] = [];
  return {
    pushManifest: async (tag, mediaType, bytes, options) => {
      if (kindOfTag(tag) === 'segment') {
        late.push(() => store.pushManifest(tag, mediaType, bytes, options));
        return describe(mediaType, bytes);
      }
      const descriptor = await store.pushManifest(tag, mediaType, bytes, options);
      if (kindOfTag(tag) === 'checkpoint') for (const push of late.splice(0)) await push();
      return descriptor;
    },
  };
}

/** Segments follow each other the other way round, before whatever else is tagged. */
export function commitsBackwards(store: ModelStore): Partial<ModelStore> {
  const late: (() => Promise<unknown>)[] = [];
  return {
    pushManifest: async (tag, mediaType, bytes, options) => {
      const push = () => store.pushManifest(tag, mediaType, bytes, options);
      if (kindOfTag(tag) !== 'segment') {
        for (const each of late.splice(0).reverse()) await each();
        return push();
      }
      late.push(push);
      return describe(mediaType, bytes);
    },
  };
}

/** Of the segments that come in the place of one that was refused, the first comes last. */
export function healsBackwards(store: ModelStore): Partial<ModelStore> {
  let isHealing = false;
  let late: (() => Promise<unknown>) | undefined;
  const flush = async (): Promise<void> => {
    const first = late;
    late = undefined;
    await first?.();
  };
  return {
    // What is no part of a segment's own belongs to what is written next.
    pushBlob: async (expected, open, options) => {
      if (![ENTRIES, SEGMENT_CONFIG].includes(expected.mediaType)) await flush();
      return store.pushBlob(expected, open, options);
    },
    pushManifest: async (tag, mediaType, bytes, options) => {
      const push = () => store.pushManifest(tag, mediaType, bytes, options);
      if (kindOfTag(tag) !== 'segment') {
        await flush();
        return push();
      }
      if (isHealing) {
        isHealing = false;
        late = push;
        return describe(mediaType, bytes);
      }
      try {
        const pushed = await push();
        await flush();
        return pushed;
      } catch (error) {
        isHealing = isNixcacheError(error, 'ERR_BLOB_UNKNOWN');
        throw error;
      }
    },
  };
}

/** What a publisher saw of the tags when it began, it believes to the end. */
function looksOnce(store: ModelStore): Partial<ModelStore> {
  let first: Promise<string[]> | undefined;
  return {
    listTags: () => {
      first ??= store.listTags();
      return first;
    },
  };
}

/** A checkpoint's record follows right before it, after gc has looked for what appeared. */
function dropsUnannounced(store: ModelStore): Partial<ModelStore> {
  let announce: (() => Promise<unknown>) | undefined;
  return {
    pushManifest: async (tag, mediaType, bytes, options) => {
      if (kindOfTag(tag) === 'record') {
        announce = () => store.pushManifest(tag, mediaType, bytes, options);
        return describe(mediaType, bytes);
      }
      if (kindOfTag(tag) === 'checkpoint') await announce?.();
      return store.pushManifest(tag, mediaType, bytes, options);
    },
  };
}

/** No entry seems to refer to anything. */
export const seesNoReferences = (store: ModelStore): Partial<ModelStore> => ({
  fetchBlob: async (target, options) => {
    const bytes = await readAll(await store.fetchBlob(target, options));
    const text = bytes.readUInt32LE(0) === ZSTD_MAGIC ? String(decodeEntries(bytes, target.digest)) : '';
    const isEntries = options?.range === undefined && text.startsWith('StorePath: ');
    return Readable.from([isEntries ? zstdCompressSync(text.replaceAll(/^References: .*$/gm, 'References: ')) : bytes]);
  },
});
const ZSTD_MAGIC = 0xfd2fb528;

export const PLANTED_BUGS: Readonly<Record<string, Behaviour>> = {
  'drop a tombstone before what it killed': { ...FAITHFUL, wrap: changing('gc', dropsTombstones) },
  'believe cache-index, and overwrite it': {
    ...FAITHFUL,
    wrap: (store) => overriding(store, trustsCacheIndex(store)),
  },
  'commit before the blobs': { ...FAITHFUL, isLax: true, wrap: changing('publish', commitsBeforeBlobs) },
  'commit what refers before what it refers to': { ...FAITHFUL, referrersFirst: true },
  'collect without looking at references': { ...FAITHFUL, wrap: changing('gc', seesNoReferences) },
  'replace segments before their successors are there': {
    ...FAITHFUL,
    isLax: true,
    wrap: changing('gc', killsBeforeItWrites),
  },
};

/** Found where a gc and publishers race each other. */
export const PLANTED_RACES: Readonly<Record<string, Behaviour>> = {
  'delete without grace': { ...FAITHFUL, graceMs: 0 },
  'commit without looking again': { ...FAITHFUL, wrap: changing('publish', looksOnce) },
  'drop what was not announced': { ...FAITHFUL, wrap: changing('gc', dropsUnannounced) },
};
