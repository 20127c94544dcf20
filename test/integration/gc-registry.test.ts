/** gc against Debian's docker-registry: what the registry's own garbage collection leaves, and what cannot be deleted. */
import { expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { nobody } from '../oci/remote/open-repository.ts';
import { assertSegmentsReachable, CacheBuilder, namesIn } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { RealRegistry, type RealRegistryOptions } from '../support/real-registry.ts';

/** Two publishes, the older of which has expired but for `lib`; a pack of it is mostly dead. */
async function aged(
  options: RealRegistryOptions = {},
): Promise<{ readonly registry: RealRegistry; readonly store: RemoteRepository; readonly cache: CacheBuilder }> {
  const registry = await RealRegistry.start(options);
  const http = new HttpClient();
  onTestFinished(async () => {
    await http.destroy();
    await registry.stop();
  });
  const store = new RemoteRepository({ host: registry.host, repository: 'team/cache', http, credentials: nobody });
  const cache = new CacheBuilder(store);
  const old = ['old-1', 'old-2', 'old-3'].map((name) => ({ name, bytes: 1000 }));
  await cache.publish({ at: day(0), paths: ['lib', ...old], roots: ['old-1'] });
  await cache.publish({ at: day(50), packed: false, paths: [{ name: 'app', references: ['lib'] }], roots: ['app'] });
  return { registry, store, cache };
}

it('leaves a cache that survives the collection of all that has no tag', async () => {
  const { registry, store, cache } = await aged();
  const { report } = await gcAt(store, day(60));
  expect(report).toMatchObject({ dropped: { entries: 3 }, packs: { rewritten: 1 }, notFreed: [] });
  await registry.collectGarbage({ untagged: true });
  await cache.expectReadable(['app', 'lib']);
  expect((await gcAt(store, day(62))).report).toMatchObject({ deletedManifests: 2, checkpoint: undefined });
  await registry.collectGarbage({ untagged: true });
  await cache.expectReadable(['app', 'lib']);
  await assertSegmentsReachable(store);
  expect(await namesIn(store)).toEqual(['app', 'lib']);
  const segments = (await store.listTags()).filter((tag) => tag.startsWith('seg-'));
  expect(segments).toHaveLength(1);
});

it('drops all the same where the registry does not delete, and says how to allow it', async () => {
  const { store, cache } = await aged({ deletes: false });
  const { report } = await gcAt(store, day(60), { graceSeconds: 0 });
  expect(report.deletedManifests).toBe(0);
  expect(report.notFreed).toEqual([
    {
      reason: expect.stringContaining('storage.delete.enabled'),
      tags: expect.arrayContaining([expect.stringMatching(/^seg-/)]),
    },
  ]);
  expect(report.notFreed[0]?.tags).toHaveLength(2);
  expect(await namesIn(store)).toEqual(['app', 'lib']);
  await cache.expectReadable(['app', 'lib']);
});
