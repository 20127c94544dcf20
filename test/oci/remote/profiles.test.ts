/** Whole publishes, reads and collections on registries that behave as the known ones do. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { parseTag } from '../../../src/cache-index/tags.ts';
import type { PathInfo } from '../../../src/nix/path-info.ts';
import { hashPartOf } from '../../../src/nix/store-path.ts';
import type { ContentStore } from '../../../src/oci/content-store.ts';
import { decodeImageManifest } from '../../../src/oci/manifest.ts';
import type { RemoteRepository } from '../../../src/oci/remote/repository.ts';
import { noise } from '../../support/bytes.ts';
import { ghcrRateLimit, PROFILES, secondaryRateLimit } from '../../support/fake-registry-faults.ts';
import { day, gcAt } from '../../support/gc-runs.ts';
import { LocalPaths } from '../../support/local-paths.ts';
import { closureOf, expectServed, publishAt, publishWholeAt } from '../../support/publish-runs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { nobody, type OpenRepository, openRepository } from './open-repository.ts';

const MIB = 1024 * 1024;

interface Versions {
  readonly paths: LocalPaths;
  readonly first: PathInfo;
  readonly second: PathInfo;
}

/** Two versions of an application over a library and tiny paths, some of which both need. */
async function versions(): Promise<Versions> {
  const paths = new LocalPaths(await tempDir());
  const lib = await paths.add('lib', { 'lib.so': noise(300_000, 'lib') });
  const tiny: PathInfo[] = [];
  for (let i = 0; i < 20; i++) tiny.push(await paths.add(`tiny-${i}`, { f: `tiny ${i}` }, i % 2 ? [lib] : []));
  const first = await paths.add('app-1', { app: noise(150_000, 1) }, [lib, ...tiny.slice(0, 12)]);
  const second = await paths.add('app-2', { app: noise(150_000, 2) }, [lib, ...tiny.slice(8)]);
  return { paths, first, second };
}

/** Publishes both, collects what only the first needs, and frees it if the registry can; each time all must be readable. */
async function liveThrough({ repository }: OpenRepository, { paths, first, second }: Versions) {
  const needed = closureOf(paths, [second.path]);
  await publishAt(repository, paths, [first], day(0));
  await expectServed(repository, closureOf(paths, [first.path]));
  await publishAt(repository, paths, [second], day(20));
  await expectServed(repository, paths.infos);
  const { report: collected } = await gcAt(repository, day(45));
  const reader = await expectServed(repository, needed);
  expect(reader.has(hashPartOf(first.path))).toBe(false);
  const { report: freed } = await gcAt(repository, day(47));
  await expectServed(repository, needed);
  const again = await publishAt(repository, paths, [first], day(48));
  await expectServed(repository, paths.infos);
  return { collected, freed, again: again.result };
}

describe('on a registry like GHCR', () => {
  it('a cache lives through publishes and a gc that can delete nothing', async () => {
    const made = await versions();
    const opened = await openRepository(
      { ...PROFILES.ghcr, staleTagReads: 1, tokenUses: 60, signedUrlUses: 1, maxRangedUploadBytes: 100_000 },
      { kind: 'ghcr' },
    );
    const { registry, clock } = opened;
    // Older tags than ours, more than a page of them.
    const { tags, manifests } = registry.repository('team/cache');
    const bytes = Buffer.from('{"schemaVersion":2}');
    manifests.set('sha256:other', { mediaType: 'application/vnd.oci.image.manifest.v1+json', bytes });
    for (let i = 0; i < 130; i++) tags.set(`other-${i}`, 'sha256:other');
    registry.inject({ method: 'POST', times: 3, act: ghcrRateLimit('2.5s') });
    registry.inject({ method: 'PUT', path: /manifests/, times: 2, act: secondaryRateLimit(60) });

    const { collected, freed } = await liveThrough(opened, made);

    expect(collected.dropped.entries).toBeGreaterThan(5);
    expect(freed.deletedManifests).toBe(0);
    expect(freed.notFreed).toEqual([
      { tags: expect.any(Array), reason: expect.stringContaining('GitHub Packages API') },
    ]);
    expect(registry.count('DELETE')).toBe(0);
    expect(registry.count('GET', /\/referrers\//)).toBe(0);
    expect(registry.count('GET', /tags\/list\?.*last=/)).toBeGreaterThan(5);
    expect(registry.count('GET', /^\/token/)).toBeGreaterThan(5);
    expect(registry.requests.filter(({ headers }) => headers['content-range'] !== undefined)).toEqual([]);
    expect(clock.sleeps.filter((ms) => ms >= 2500 && ms < 10_000).length).toBeGreaterThanOrEqual(3);
    expect(clock.sleeps.filter((ms) => ms >= 60_000).length).toBeGreaterThanOrEqual(1);
  });

  it('the first publish is private until somebody opens it, and readers are told what to do', async () => {
    const { paths, first } = await versions();
    const { registry, repository } = await openRepository(PROFILES.ghcr, { kind: 'ghcr' });
    await publishAt(repository, paths, [first], day(0));
    const { host } = registry;
    const { registry: elsewhere, repository: anonymous } = await openRepository(
      {},
      { host, credentials: nobody, kind: 'ghcr' },
    );
    const reader = await IndexReader.open({ store: anonymous, strict: false });
    await expect(reader.refresh()).rejects.toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      message: expect.stringMatching(/GITHUB_TOKEN/),
    });
    registry.makePublic();
    await reader.refresh();
    await expectServed(anonymous, closureOf(paths, [first.path]));
    expect(elsewhere.requests).toEqual([]);
  });

  it('signed URLs that expire before they are used are asked for anew', async () => {
    const { paths, first } = await versions();
    const { registry, repository } = await openRepository({ ...PROFILES.ghcr, signedUrlUses: 1 }, { kind: 'ghcr' });
    await publishAt(repository, paths, [first], day(0));
    const expired = { type: 'answer', status: 403, body: '<Error><Code>AuthenticationFailed</Code></Error>' } as const;
    registry.inject({ at: 'storage', times: 4, act: expired });
    registry.inject({ at: 'storage', times: 3, act: { type: 'cut', bytes: 50, how: 'reset' } });
    await expectServed(repository, closureOf(paths, [first.path]));
  });

  it('credentials never reach the storage, not even while tokens run out', async () => {
    const { paths, first } = await versions();
    const { registry, repository } = await openRepository({ ...PROFILES.ghcr, tokenUses: 40 }, { kind: 'ghcr' });
    await publishAt(repository, paths, [first], day(0));
    await expectServed(repository, closureOf(paths, [first.path]));
    const stored = registry.requests.filter(({ at }) => at === 'storage');
    expect(stored.length).toBeGreaterThan(3);
    expect(stored.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });
});

describe('on a registry like ECR', () => {
  it('a cache lives through publishes and a gc', async () => {
    const opened = await openRepository(PROFILES.ecr, { kind: 'ecr' });
    const { freed } = await liveThrough(opened, await versions());
    expect(freed.deletedManifests).toBeGreaterThan(0);
    expect(freed.notFreed).toEqual([]);
  });

  it('1200 paths with blobs of their own become several segments, each of few enough layers', {
    timeout: 60_000,
  }, async () => {
    const paths = new LocalPaths(await tempDir());
    const bytes = randomBytes(66_000);
    for (let i = 0; i < 1200; i++) {
      bytes.writeUInt32LE(i);
      await paths.add(`own-${i}`, { f: bytes }, paths.infos.slice(-1));
    }
    const { registry, repository } = await openRepository(PROFILES.ecr, { kind: 'ecr' });
    const { result } = await publishAt(repository, paths, paths.infos.slice(-1), day(0));
    expect(result.outcome?.segments.length).toBeGreaterThanOrEqual(3);
    const { tags, manifests } = registry.repository('team/cache');
    let layers = 0;
    for (const [tag, digest] of tags) {
      if (parseTag(tag)?.kind !== 'segment') continue;
      const manifest = decodeImageManifest(manifests.get(digest)?.bytes ?? Buffer.alloc(0), tag);
      expect(manifest.layers.length).toBeLessThanOrEqual(500);
      layers += manifest.layers.length;
    }
    expect(layers).toBeGreaterThan(1200);
    const reader = await expectServed(
      repository,
      paths.infos.filter((_, i) => i % 40 === 0),
    );
    expect(paths.infos.filter(({ path }) => !reader.has(hashPartOf(path)))).toEqual([]);
  });
});

describe('on a registry like Docker Hub', () => {
  it('a cache lives through publishes, of large blobs too', async () => {
    const made = await versions();
    const opened = await openRepository(PROFILES.hub, { kind: 'hub' });
    const { collected, freed } = await liveThrough(opened, made);
    expect(collected.dropped.entries).toBeGreaterThan(5);
    expect(freed.notFreed).toHaveLength(1);
    const large = await made.paths.add('large', { f: randomBytes(3 * MIB) }, [made.first]);
    await publishAt(opened.repository, made.paths, [large], day(49));
    await expectServed(opened.repository, made.paths.infos);
    expect(opened.registry.count('PATCH')).toBeGreaterThan(5);
  });

  it('large blobs fail as on Hub where it is taken for something else', async () => {
    const paths = new LocalPaths(await tempDir());
    const large = await paths.add('large', { f: randomBytes(2 * MIB) });
    const { registry, repository } = await openRepository(PROFILES.hub);
    await expect(publishWholeAt(repository, paths, [large], day(0))).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
    expect([...registry.repository('team/cache').tags]).toEqual([]);
  });
});

describe('on a registry like zot, which takes away what no tag reaches', () => {
  /** Both sides share a clock. */
  async function open(): Promise<OpenRepository & { readonly time: { now: number }; readonly at: () => Date }> {
    const time = { now: day(0).getTime() };
    const opened = await openRepository({ ...PROFILES.zot, now: () => time.now }, { kind: 'zot' });
    return { ...opened, time, at: () => new Date(time.now) };
  }
  const MINUTE_MS = 60_000;

  /** A store that takes large blobs one after the other, each for `onBlob`'s time, and only while nothing is committed. */
  function slowLine(store: RemoteRepository, onBlob: () => void): ContentStore {
    const oneByOne = pLimit(1);
    let committing = 0;
    const commit = async <T>(call: () => Promise<T>): Promise<T> => {
      committing++;
      return call().finally(() => committing--);
    };
    return {
      name: store.name,
      maxLayers: store.maxLayers,
      fetchBlob: (target, options) => store.fetchBlob(target, options),
      hasBlob: (target, options) => store.hasBlob(target, options),
      fetchManifest: (reference, options) => store.fetchManifest(reference, options),
      resolve: (reference, options) => store.resolve(reference, options),
      listTags: (options) => store.listTags(options),
      pushManifest: (tag, mediaType, bytes, options) =>
        commit(() => store.pushManifest(tag, mediaType, bytes, options)),
      pushBlob: async (expected, content, options) => {
        if (expected.size < 50_000) return commit(() => store.pushBlob(expected, content, options));
        return oneByOne(async () => {
          do await delay(30);
          while (committing > 0);
          onBlob();
          return store.pushBlob(expected, content, options);
        });
      },
    };
  }

  it('a cache lives through publishes and a gc', async () => {
    const { freed } = await liveThrough(await open(), await versions());
    expect(freed.notFreed).toEqual([]);
  });

  it('a publish of hours ends whole, without sending anything twice, since it commits every few minutes', async () => {
    const { registry, repository, time, at } = await open();
    const paths = new LocalPaths(await tempDir());
    for (let i = 0; i < 60; i++) await paths.add(`p-${i}`, { f: noise(70_000, i) }, paths.infos.slice(-1));
    const line = slowLine(repository, () => {
      time.now += 2 * MINUTE_MS;
    });
    const { result } = await publishAt(line, paths, paths.infos.slice(-1), at(), { now: at });
    expect(time.now - day(0).getTime()).toBeGreaterThanOrEqual(120 * MINUTE_MS);
    expect(result.outcome?.segments.length).toBeGreaterThan(10);
    time.now += 600 * MINUTE_MS;
    await expectServed(repository, paths.infos);
    const sent = registry.requests.filter(({ method, path }) => method === 'PUT' && path.includes('/blobs/'));
    const digests = sent.map(({ path }) => path.replace(/.*digest=/, ''));
    expect(digests.length).toBe(new Set(digests).size);
  });

  it('what was taken away before the commit is sent again', async () => {
    const { registry, repository, time, at } = await open();
    const { paths, first } = await versions();
    let sleeps = 0;
    const { result } = await publishAt(repository, paths, [first], at(), {
      now: () => day(0),
      onEvent: ({ type }) => {
        if (type !== 'path-done' || ++sleeps !== closureOf(paths, [first.path]).length) return;
        registry.repository('team/cache').reap(time.now, 60 * MINUTE_MS);
        time.now += 61 * MINUTE_MS;
        registry.repository('team/cache').reap(time.now, 60 * MINUTE_MS);
      },
    });
    expect(result.outcome?.failed.size).toBe(0);
    const refused = registry.requests.filter(({ status, path }) => status === 400 && path.includes('/manifests/seg-'));
    expect(refused).toHaveLength(1);
    await expectServed(repository, closureOf(paths, [first.path]));
  });

  it('blobs that were left by a killed publish are not relied on once they are gone', async () => {
    const { registry, repository, time, at } = await open();
    const { paths, first } = await versions();
    // It ends before it can commit anything.
    registry.inject({ method: 'PUT', path: /\/manifests\//, times: Number.POSITIVE_INFINITY, act: { type: 'reset' } });
    await expect(publishWholeAt(repository, paths, [first], at())).rejects.toThrow();
    registry.calm();
    expect(registry.repository('team/cache').tags.size).toBe(0);
    await repository.listTags();
    time.now += 59 * MINUTE_MS;
    // Found to be there, and gone two minutes later.
    await publishAt(repository, paths, [first], at(), {
      onEvent: ({ type }) => {
        if (type === 'uploaded') time.now += 2 * MINUTE_MS;
      },
    });
    await expectServed(repository, closureOf(paths, [first.path]));
  });
});

it('a reader on any of them downloads a NAR that is in a pack by its range alone', async () => {
  const { paths, first } = await versions();
  const { registry, repository } = await openRepository(PROFILES.ghcr, { kind: 'ghcr' });
  await publishAt(repository, paths, [first], day(0));
  registry.requests.length = 0;
  await expectServed(
    repository,
    closureOf(paths, [first.path]).filter(({ narSize }) => narSize < 1000),
  );
  const ranged = registry.requests.filter(({ at, headers }) => at === 'storage' && headers.range !== undefined);
  expect(ranged).toHaveLength(12);
});
