/** An unreadable index is never an empty one: whatever a writer cannot read stops it, and nothing has changed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { checkpointTag, parseTag } from '../../src/cache-index/tags.ts';
import { readCatalog } from '../../src/catalog/catalog.ts';
import { setPin } from '../../src/catalog/pin.ts';
import { isNixcacheError } from '../../src/errors.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { baseNameOf, hashPartOf } from '../../src/nix/store-path.ts';
import { hexOf } from '../../src/oci/digest.ts';
import { encodeManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { blobOf, nobody, type OpenRepository, openRepository } from '../oci/remote/open-repository.ts';
import { noise } from '../support/bytes.ts';
import { openReader } from '../support/cache-builder.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import type { FaultAct } from '../support/fake-registry-faults.ts';
import type { FakeRepository } from '../support/fake-registry-state.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { closureOf, expectServed, publishAt, publishWholeAt, servedHash } from '../support/publish-runs.ts';

interface Fixture extends OpenRepository {
  readonly paths: LocalPaths;
  /** Of the newest publish. */
  readonly app: PathInfo;
  /** Not in the cache. */
  readonly next: PathInfo;
  readonly segment: string;
  readonly checkpoint: string;
}

/** Three publishes and a gc: segments before and after a checkpoint, all of which count. Made once, copied for each test. */
let made: Omit<Fixture, keyof OpenRepository> & { readonly contents: FakeRepository };
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nixcache-test-'));
  const paths = new LocalPaths(directory);
  const lib = await paths.add('lib', { 'lib.so': noise(100_000, 'lib') });
  const [first, second, app, next] = await Promise.all(
    [1, 2, 3, 4].map((version) => paths.add(`app-${version}`, { app: noise(500, version) }, [lib])),
  );
  if (!first || !second || !app || !next) throw new Error('four were made');
  const registry = await FakeRegistry.start();
  const http = new HttpClient();
  try {
    const store = new RemoteRepository({ host: registry.host, repository: NAME, http, credentials: nobody });
    await publishAt(store, paths, [first], day(0));
    await publishAt(store, paths, [second], day(20));
    await gcAt(store, day(40));
    await publishAt(store, paths, [app], day(41));
    const { view } = await openReader(store);
    const [segment = ''] = view?.live.segments ?? [];
    const [checkpoint = ''] = view?.checkpoints.keys() ?? [];
    made = { paths, app, next, segment, checkpoint, contents: registry.repository(NAME) };
  } finally {
    await http.destroy();
    await registry.close();
  }
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const NAME = 'team/cache';

async function open(): Promise<Fixture> {
  const opened = await openRepository();
  const copy = opened.registry.repository(NAME);
  const { blobs, manifests, tags } = made.contents;
  for (const [digest, bytes] of blobs) copy.blobs.set(digest, bytes);
  for (const [digest, manifest] of manifests) copy.manifests.set(digest, manifest);
  for (const [tag, digest] of tags) copy.tags.set(tag, digest);
  return { ...opened, ...made };
}

const AT = day(42);
const WRITERS: Readonly<Record<string, (fixture: Fixture) => Promise<unknown>>> = {
  publish: ({ repository, paths, next }) => publishWholeAt(repository, paths, [next], AT),
  'publish that only asserts': ({ repository, paths, app }) =>
    publishWholeAt(repository, paths, [app], day(43), { retainSeconds: 60 }),
  gc: ({ repository }) => gcAt(repository, AT),
  pin: ({ repository, app }) => pin(repository, app),
};

async function pin(store: RemoteRepository, { path }: PathInfo): Promise<void> {
  const reader = await IndexReader.open({ store, strict: true });
  const catalog = await readCatalog({ store, reader, onWarning: () => undefined });
  const now = (): Date => AT;
  await setPin('keep', baseNameOf(path), { store, catalog, creator: 'test', onWarning: () => undefined, now });
}

/** What is asked for, and what an error must name. */
const OBJECTS: Readonly<Record<string, (fixture: Fixture) => { readonly path: RegExp; readonly name: string }>> = {
  'cache-index': () => ({ path: /\/manifests\/cache-index$/, name: 'cache-index' }),
  'the tag list': () => ({ path: /\/tags\/list/, name: 'tags' }),
  "a segment's entries": ({ segment }) => blobOfTag(segment),
  'a checkpoint': ({ checkpoint }) => blobOfTag(checkpoint),
};
function blobOfTag(tag: string): { readonly path: RegExp; readonly name: string } {
  const id = parseTag(tag)?.id;
  if (id === undefined) throw new Error(`${tag} names no blob`);
  return { path: new RegExp(`/blobs/${id}$`), name: hexOf(id) };
}

const FAILURES: Readonly<Record<string, { readonly act: FaultAct; readonly codes: readonly string[] }>> = {
  '503 for ever': { act: { type: 'answer', status: 503 }, codes: ['ERR_REGISTRY'] },
  '401 for ever': { act: { type: 'answer', status: 401 }, codes: ['ERR_UNAUTHORIZED'] },
  '403 for ever': { act: { type: 'answer', status: 403 }, codes: ['ERR_FORBIDDEN'] },
  'a page for browsers': {
    act: { type: 'answer', status: 200, headers: { 'content-type': 'text/html' }, body: '<html>log in</html>' },
    codes: ['ERR_INDEX', 'ERR_REGISTRY', 'ERR_DIGEST_MISMATCH', 'ERR_NETWORK'],
  },
  'the 404 of a proxy': {
    act: { type: 'answer', status: 404, headers: { 'content-type': 'text/html' }, body: '<html>nothing</html>' },
    codes: ['ERR_REGISTRY'],
  },
  'JSON that says nothing': { act: { type: 'replace', body: '{}' }, codes: ['ERR_DIGEST_MISMATCH', 'ERR_REGISTRY'] },
  'cut short': {
    act: { type: 'cut', bytes: 0, how: 'end' },
    codes: ['ERR_DIGEST_MISMATCH', 'ERR_REGISTRY', 'ERR_NETWORK'],
  },
  'a connection that breaks each time': { act: { type: 'cut', bytes: 0, how: 'reset' }, codes: ['ERR_NETWORK'] },
};

describe.each(Object.entries(WRITERS))('%s', (_, write) => {
  it('succeeds when all can be read', async () => {
    const fixture = await open();
    const before = fixture.registry.snapshot();
    await write(fixture);
    expect(fixture.registry.snapshot()).not.toEqual(before);
  });

  describe.each(Object.entries(OBJECTS))('stops, with nothing changed, when %s', (_name, objectOf) => {
    it.each(Object.entries(FAILURES))('is %s', async (_failure, { act, codes }) => {
      const fixture = await open();
      const { registry } = fixture;
      const { path, name } = objectOf(fixture);
      const before = registry.snapshot();
      registry.inject({ method: 'GET', path, times: Number.POSITIVE_INFINITY, act });
      const failed = await write(fixture).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!isNixcacheError(failed)) throw failed ?? new Error('it went on');
      expect(codes).toContain(failed.code);
      expect(failed.message).toContain(name);
      expect(failed.message).not.toContain('\n');
      expect(registry.snapshot()).toEqual(before);
      expect(registry.requests.filter((request) => path.test(request.path)).length).toBeLessThanOrEqual(30);
    });
  });
});

/** Stored so: digests are right, what they name is not. */
const DAMAGES: Readonly<
  Record<string, { readonly damage: (fixture: Fixture) => Promise<string> | string; readonly code: string }>
> = {
  'cache-index is no JSON': { damage: (fixture) => putIndex(fixture, 'not JSON'), code: 'ERR_INDEX' },
  'cache-index is an index of something else': {
    damage: (fixture) => putIndex(fixture, encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [] })),
    code: 'ERR_INDEX',
  },
  'cache-index is of a newer version': {
    damage: (fixture) =>
      putIndex(
        fixture,
        currentIndex(fixture).replace('"io.nixcache.format-version":"1"', '"io.nixcache.format-version":"2"'),
      ),
    code: 'ERR_INDEX_VERSION',
  },
  'cache-index names its version in words': {
    damage: (fixture) =>
      putIndex(
        fixture,
        currentIndex(fixture).replace('"io.nixcache.format-version":"1"', '"io.nixcache.format-version":"two"'),
      ),
    code: 'ERR_INDEX_VERSION',
  },
  'a tag is of a newer version': {
    damage: ({ registry }) => {
      const { tags } = registry.repository(NAME);
      tags.set('seg2-01jcccccccccccccccccccccccc-00', tags.get('cache-index') ?? '');
      return 'seg2-';
    },
    code: 'ERR_INDEX_VERSION',
  },
  'a checkpoint is of a newer version': {
    damage: (fixture) => putCheckpoint(fixture, '{"formatVersion":2,"replaces":[]}'),
    code: 'ERR_INDEX_VERSION',
  },
  'a checkpoint is no JSON': { damage: (fixture) => putCheckpoint(fixture, '{"formatVersion":1'), code: 'ERR_INDEX' },
  'the entries of a segment are gone': {
    damage: ({ registry, segment }) => {
      registry.repository(NAME).blobs.delete(parseTag(segment)?.id ?? '');
      return segment;
    },
    code: 'ERR_INDEX',
  },
};

function currentIndex({ registry }: Fixture): string {
  const { manifests, tags } = registry.repository(NAME);
  return manifests.get(tags.get('cache-index') ?? '')?.bytes.toString('utf8') ?? '';
}

function putIndex({ registry }: Fixture, bytes: Buffer | string): string {
  registry.repository(NAME).putManifest('cache-index', { mediaType: IMAGE_INDEX, bytes: Buffer.from(bytes) }, 0);
  return 'cache-index';
}

async function putCheckpoint({ repository }: Fixture, config: string): Promise<string> {
  const { descriptor, open: content } = blobOf(config);
  await repository.pushBlob(descriptor, content);
  const tag = checkpointTag(descriptor.digest, AT);
  const bytes = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config: descriptor, layers: [] });
  await repository.pushManifest(tag, IMAGE_MANIFEST, bytes);
  return tag;
}

describe.each(Object.entries(WRITERS))('%s', (_, write) => {
  it.each(Object.entries(DAMAGES))('stops, with nothing changed, when %s', async (_name, { damage, code }) => {
    const fixture = await open();
    const named = await damage(fixture);
    const before = fixture.registry.snapshot();
    await expect(write(fixture)).rejects.toMatchObject({ code, message: expect.stringContaining(named) });
    expect(fixture.registry.snapshot()).toEqual(before);
  });
});

describe('a reader that knows the cache', () => {
  const reading = async (fixture: Fixture): Promise<{ reader: IndexReader; warnings: string[] }> => {
    const warnings: string[] = [];
    const onWarning = (message: string): unknown => warnings.push(message);
    const reader = await IndexReader.open({ store: fixture.repository, strict: false, onWarning });
    await reader.refresh();
    return { reader, warnings };
  };
  const stillServes = async (reader: IndexReader, { app }: Fixture): Promise<void> => {
    expect(reader.has(hashPartOf(app.path))).toBe(true);
    expect(await servedHash(reader, app)).toBe(app.narHash);
  };

  describe.each(Object.entries(OBJECTS))('goes on serving it when %s', (_name, objectOf) => {
    it.each(Object.entries(FAILURES))('is %s', async (_failure, { act }) => {
      const fixture = await open();
      const { registry } = fixture;
      const { reader } = await reading(fixture);
      registry.inject({ method: 'GET', path: objectOf(fixture).path, times: Number.POSITIVE_INFINITY, act });
      await reader.refresh().catch((error: unknown) => {
        if (!isNixcacheError(error)) throw error;
        expect(reader.status().lastError).toBe(error.message);
      });
      await stillServes(reader, fixture);
      registry.calm();
      await reader.refresh();
      expect(reader.status().lastError).toBeUndefined();
      await stillServes(reader, fixture);
    });
  });

  it.each(Object.entries(DAMAGES))('goes on serving it when %s', async (_name, { damage }) => {
    const fixture = await open();
    const { reader, warnings } = await reading(fixture);
    await damage(fixture);
    await reader.refresh().catch((error: unknown) => {
      if (!isNixcacheError(error)) throw error;
      warnings.push(error.message);
    });
    await stillServes(reader, fixture);
  });
});

it('does without cache-index when it is gone: the tags say all of it, and the next writer makes it again', async () => {
  const fixture = await open();
  const { registry, repository, paths, app, next } = fixture;
  const { manifests, tags } = registry.repository(NAME);
  manifests.delete(tags.get('cache-index') ?? '');
  await publishAt(repository, paths, [next], AT);
  await expectServed(repository, closureOf(paths, [app.path, next.path]));
  const index = JSON.parse(currentIndex(fixture));
  const view = (await openReader(repository)).view;
  expect(index.manifests).toHaveLength(view?.live.segments.length ?? 0);
});

it('does not let gc go by a tag list that lacks what is there: what only a checkpoint keeps would be dropped', async () => {
  const { registry, repository } = await open();
  const before = registry.snapshot();
  const unknown = '{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}';
  const act: FaultAct = { type: 'answer', status: 404, body: unknown };
  registry.inject({ path: /tags\/list/, times: Number.POSITIVE_INFINITY, act });
  await expect(gcAt(repository, AT)).rejects.toMatchObject({
    code: 'ERR_INDEX',
    message: expect.stringContaining('cache-index'),
  });
  expect(registry.snapshot()).toEqual(before);
});
