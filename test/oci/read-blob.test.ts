/** Damage on the way, or of one replica, is not damage of the cache: who reads small content asks again. */
import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import { noise } from '../support/bytes.ts';
import { copyBetween } from '../support/copy-runs.ts';
import type { FakeRegistry } from '../support/fake-registry.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { expectServed, publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';
import { kindsOf, verify } from '../support/verify-runs.ts';
import { type OpenRepository, openRepository } from './remote/open-repository.ts';

const CONTENT = /\/(blobs\/sha256:|manifests\/)/;

/** The first answers about each blob, each range and each manifest are damaged; after `times` of them all are right. */
function damage(registry: FakeRegistry, times: number): void {
  const asked = new Map<string, number>();
  registry.luck = (method, { pathname }, range) => {
    if (method !== 'GET' || !CONTENT.test(pathname)) return undefined;
    const what = `${pathname} ${range}`;
    const before = asked.get(what) ?? 0;
    asked.set(what, before + 1);
    return before < times ? { type: 'corrupt' } : undefined;
  };
}

/** Two publishes before a checkpoint and one after it; a NAR of its own, and packs, of one of which little stays. */
async function filled(): Promise<OpenRepository & { readonly paths: LocalPaths; readonly top: PathInfo }> {
  const opened = await openRepository();
  const paths = new LocalPaths(await tempDir());
  const lib = await paths.add('lib', { f: noise(300_000, 'lib') });
  const old = [];
  for (let i = 0; i < 5; i++) old.push(await paths.add(`old-${i}`, { f: noise(20_000, i) }));
  const next = await paths.add('next', { f: noise(2000, 'next') }, [lib]);
  const top = await paths.add('top', { f: noise(2000, 'top') }, [lib, ...old.slice(0, 1), next]);
  await publishAt(opened.repository, paths, old, day(0));
  await publishAt(opened.repository, paths, [next], day(20));
  await gcAt(opened.repository, day(22));
  await publishAt(opened.repository, paths, [top], day(23));
  return { ...opened, paths, top };
}

describe('content that is right only when it is asked for again', () => {
  it('is read by a reader that can do without it', async () => {
    const { registry, repository, paths } = await filled();
    const warnings: string[] = [];
    const onWarning = (message: string): unknown => warnings.push(message);
    damage(registry, 1);
    const reader = await IndexReader.open({ store: repository, strict: false, onWarning });
    await reader.refresh();
    expect(warnings).toEqual([]);
    for (const { path } of paths.infos) {
      const entry = reader.findEntry(hashPartOf(path));
      expect(entry && (await reader.fetchListing(entry))).toBeDefined();
    }
  });

  it('stops no writer', async () => {
    const { registry, repository, paths, top } = await filled();
    damage(registry, 1);
    const more = await paths.add('more', { f: 'more' }, [top]);
    await publishAt(repository, paths, [more], day(24));
    damage(registry, 1);
    await gcAt(repository, day(70));
    registry.calm();
    await expectServed(repository, []);
  });

  it('is no finding of verify, which would drop what it takes for lost', async () => {
    const { registry, repository } = await filled();
    const sound = kindsOf((await verify(repository, { contents: true })).findings);
    damage(registry, 2);
    expect(kindsOf((await verify(repository, { contents: true })).findings)).toEqual(sound);
  });

  it('is copied', async () => {
    const { registry, repository, paths } = await filled();
    damage(registry, 1);
    const destination = new MemoryStore();
    await copyBetween(repository, destination);
    await expectServed(destination, paths.infos);
  });

  it('is asked for three times, and then damaged', async () => {
    const { registry, repository } = await filled();
    damage(registry, Number.POSITIVE_INFINITY);
    registry.requests.length = 0;
    const reader = await IndexReader.open({ store: repository, strict: true });
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    const asked = registry.requests.filter(({ path }) => path.endsWith('/manifests/cache-index'));
    expect(asked.length).toBe(3);
  });
});
