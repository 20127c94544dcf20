/** gc of a cache on GHCR, from publishes to freed storage: both fakes, real time shifted by the test. */
import { describe, expect, it } from 'vitest';
import { currentPins } from '../../src/cache-index/records.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import type { GithubPackagesDeleter } from '../../src/github/packages-deleter.ts';
import type { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { assertSegmentsReachable, baseNameFor, CacheBuilder, namesIn } from '../support/cache-builder.ts';
import { FAKE_GITHUB_TOKEN } from '../support/fake-github.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { type OpenGithub, openGithub, REPOSITORY } from './open-github.ts';

const KIB = 1024;

/** Three publishes, of which the last two share a library with the first, and each brings 40 KiB of its own. */
async function publishThrice(store: RemoteRepository): Promise<CacheBuilder> {
  const cache = new CacheBuilder(store);
  const app = (version: number) => ({ name: `app-${version}`, references: ['lib'], bytes: 40 * KIB });
  await cache.publish({ at: day(0), paths: [{ name: 'lib', bytes: 10 * KIB }], packed: false });
  await cache.publish({ at: day(0), paths: [app(1)], roots: ['app-1'], packed: false });
  await cache.publish({ at: day(20), paths: [app(2)], roots: ['app-2'], packed: false });
  await cache.publish({ at: day(50), paths: [app(3)], roots: ['app-3'], asserted: ['lib'], packed: false });
  return cache;
}

const segments = async (store: RemoteRepository): Promise<string[]> =>
  (await store.listTags()).filter((tag) => parseTag(tag)?.kind === 'segment').sort();

describe('gc on GHCR', () => {
  it('publishes thrice, drops what is old, and frees its storage after the grace period', async () => {
    const { github, repository, openDeleter } = await openGithub();
    const cache = await publishThrice(repository);
    const before = github.package.storedBytes();
    const replaced = await segments(repository);

    const first = await gcAt(repository, day(60), { deleter: openDeleter() });
    expect(first.report).toMatchObject({
      ...{ kept: { entries: 2 }, dropped: { entries: 2 }, deletedManifests: 0, notFreed: [] },
      waiting: { manifests: 4, until: day(61) },
    });
    expect(github.requests).toEqual([]); // nothing is due: GitHub is not asked
    expect((await gcAt(repository, day(60.9), { deleter: openDeleter() })).report.deletedManifests).toBe(0);

    const { report, events } = await gcAt(repository, day(61.1), { deleter: openDeleter() });
    expect(report).toMatchObject({
      deletedManifests: 4,
      waiting: { manifests: 0 },
      notFreed: [],
      dropped: { entries: 0 },
    });
    expect(events.filter(({ type }) => type === 'deleted')).toHaveLength(4);
    const tags = await repository.listTags();
    expect(tags.filter((tag) => replaced.includes(tag))).toEqual([]);
    expect(tags).toContain('cache-index');
    expect(before - github.package.storedBytes()).toBeGreaterThan(78 * KIB);
    expect(await namesIn(repository)).toEqual(['app-3', 'lib']);
    await cache.expectReadable(['app-3', 'lib']);
    await assertSegmentsReachable(repository);
    expect(github.count('GET', /\/versions\?/)).toBe(1);
  });

  it('lets go of packs whose live pieces it has moved', async () => {
    const { github, repository, openDeleter } = await openGithub();
    const cache = new CacheBuilder(repository);
    await cache.publish({ at: day(0), paths: ['a', 'b', 'c'].map((name) => ({ name, bytes: 10 * KIB })) });
    await cache.publish({ at: day(40), asserted: ['a'] });
    const before = github.package.storedBytes();
    const { report } = await gcAt(repository, day(60), { deleter: openDeleter(), graceSeconds: 0 });
    expect(report).toMatchObject({ packs: { rewritten: 1 }, deletedManifests: 2, notFreed: [] });
    expect(before - github.package.storedBytes()).toBeGreaterThan(15 * KIB);
    await cache.expectReadable(['a']);
  });

  it('goes on in the next run when the budget of the hour ends', async () => {
    let now = day(60).getTime();
    const { github, repository, openDeleter } = await openGithub({ hourlyLimit: 32, now: () => now });
    const cache = new CacheBuilder(repository);
    for (let i = 0; i < 8; i++) await cache.publish({ at: day(i), paths: [`p${i}`], roots: [`p${i}`] });
    await gcAt(repository, day(60), { deleter: openDeleter() });
    const due = await gcAt(repository, day(61.5), { deleter: openDeleter() });
    const { deletedManifests, notFreed } = due.report;
    expect(deletedManifests).toBeGreaterThan(0);
    expect(notFreed).toMatchObject([{ reason: expect.stringMatching(/run gc again after/) }]);
    expect(notFreed[0]?.tags).toHaveLength(8 - deletedManifests);
    await cache.expectReadable(['p7']);
    let freed = deletedManifests;
    for (let hours = 1; freed < 8 && hours < 8; hours++) {
      now += 61 * 60 * 1000;
      freed += (await gcAt(repository, day(61.5 + hours / 20), { deleter: openDeleter() })).report.deletedManifests;
    }
    expect(freed).toBe(8);
    expect(github.package.versions().filter(({ metadata }) => metadata.container.tags.length > 0)).toHaveLength(4);
    await cache.expectReadable(['p7']);
    await assertSegmentsReachable(repository);
  });

  it('does everything else when it may not delete, and frees it all once it may', async () => {
    const { github, repository, openDeleter } = await openGithub({
      tokens: { [FAKE_GITHUB_TOKEN]: { reads: true, deletes: false } },
    });
    const cache = await publishThrice(repository);
    await gcAt(repository, day(60), { deleter: openDeleter() });
    const { report } = await gcAt(repository, day(62), { deleter: openDeleter() });
    expect(report.deletedManifests).toBe(0);
    expect(report.notFreed).toMatchObject([{ reason: expect.stringContaining('Manage Actions access') }]);
    expect(report.notFreed[0]?.tags).toHaveLength(4);
    expect(await namesIn(repository)).toEqual(['app-3', 'lib']);
    github.traits = { ...github.traits, tokens: { [FAKE_GITHUB_TOKEN]: { reads: true, deletes: true } } };
    expect((await gcAt(repository, day(63), { deleter: openDeleter() })).report).toMatchObject({ deletedManifests: 4 });
    await cache.expectReadable(['app-3', 'lib']);
  });

  it('keeps pins and the last publishes of a name, and says so', async () => {
    const { repository, openDeleter } = await openGithub();
    const cache = new CacheBuilder(repository);
    const build = (name: string, at: number) =>
      cache.publish({ at: day(at), paths: [{ name, bytes: 20 * KIB }], roots: [name], packed: false });
    await build('pinned', 0);
    await build('forgotten', 1);
    await build('newest', 2);
    const pin = { name: 'release', path: baseNameFor('pinned'), time: day(3).getTime() / 1000 };
    await cache.publish({ at: day(3), pins: [pin] });
    await gcAt(repository, day(60), { deleter: openDeleter() });
    const { report } = await gcAt(repository, day(62), { deleter: openDeleter() });
    expect(currentPins(report.pins)).toMatchObject([{ name: 'release' }]);
    expect(await namesIn(repository)).toEqual(['newest', 'pinned']);
    await cache.expectReadable(['newest', 'pinned']);
    await assertSegmentsReachable(repository);
  });
});

describe('when deleting a version harms blobs that others need', () => {
  const harmful = async (): Promise<OpenGithub & { deleter: GithubPackagesDeleter; cache: CacheBuilder }> => {
    const opened = await openGithub({ takesSharedBlobs: true });
    const cache = new CacheBuilder(opened.repository);
    for (let i = 0; i < 30; i++)
      await cache.publish({ at: day(i / 10), paths: [`p${i}`], roots: ['p'], packed: false });
    await gcAt(opened.repository, day(20), { deleter: opened.openDeleter() });
    return { ...opened, cache, deleter: opened.openDeleter() };
  };

  it('stops after the first batch, loudly, and says how to restore', async () => {
    const { github, repository, deleter } = await harmful();
    const gc = gcAt(repository, day(22), { deleter });
    await expect(gc).rejects.toMatchObject({ code: 'ERR_INDEX' });
    const { message } = (await gc.catch((error: unknown) => error)) as Error;
    expect(message).toMatch(/^gc stopped deleting: blob sha256:[0-9a-f]{64}, which kept paths of .* need, is gone/);
    expect(message).toMatch(/after 25 manifests were deleted; run gc no more, restore/);
    expect(message).toMatch(
      /for 30 days: POST http.*\/orgs\/octo-org\/packages\/container\/repo%2Fnix-cache\/versions\/\{id\}\/restore/,
    );
    expect(github.package.deleted).toHaveLength(25);
    for (const id of github.package.deleted) expect(message).toContain(String(id));
  });

  it('does not begin when something is missing already', async () => {
    const { github, registry, repository, deleter } = await harmful();
    const { blobs } = registry.repository(REPOSITORY);
    const kept = await keptNars(repository);
    for (const digest of kept) blobs.delete(digest);
    await expect(gcAt(repository, day(22), { deleter })).rejects.toThrow(
      /is damaged.*gc freed nothing.*verify --repair/,
    );
    expect(github.package.deleted).toEqual([]);
  });
});

/** Digests of the NARs in live segments. */
async function keptNars(store: RemoteRepository): Promise<string[]> {
  const { openReader } = await import('../support/cache-builder.ts');
  const reader = await openReader(store);
  return [...reader.entries()].flatMap(({ entry }) => entry.nar.map(({ digest }) => digest));
}
