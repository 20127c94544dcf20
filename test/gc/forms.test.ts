/** What a key of the cache signed does not go for what nobody signed, and no signature is lost. */
import { randomBytes } from 'node:crypto';
import { beforeEach, expect, it } from 'vitest';
import type { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { findSigner, generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import { assertSegmentsReachable, openReader } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { expectServed, publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const [first, second] = ['first-1', 'second-1'].map((name) => parseSecretKey(generateKey(name).secret)) as [
  SecretKey,
  SecretKey,
];
let store: MemoryStore;
let paths: LocalPaths;
let lib: PathInfo;
let app: PathInfo;

const pathsOf = async (contents: Buffer): Promise<LocalPaths> => {
  const made = new LocalPaths(await tempDir());
  const library = await made.add('lib', { f: contents });
  await made.add('app', { f: 'app' }, [library]);
  return made;
};

beforeEach(async () => {
  store = new MemoryStore();
  paths = await pathsOf(randomBytes(100_000));
  [lib, app] = paths.infos as [PathInfo, PathInfo];
});

async function signersOf({ path }: PathInfo, reader?: IndexReader): Promise<string[]> {
  const narInfo = (reader ?? (await openReader(store))).findEntry(hashPartOf(path))?.narInfo;
  return [first, second].filter(({ publicKey }) => narInfo && findSigner(narInfo, [publicKey])).map(({ name }) => name);
}

/** Publishes as one does who has not seen what others did meanwhile. */
async function publishUnseen(at: number, of: LocalPaths, keys: readonly SecretKey[]): Promise<void> {
  const apart = new MemoryStore();
  await publishAt(apart, of, [app], day(at), { keys });
  for (const [digest, bytes] of apart.blobs) store.blobs.set(digest, bytes);
  for (const [digest, manifest] of apart.manifests) store.manifests.set(digest, manifest);
  for (const [tag, digest] of apart.tags) if (tag.startsWith('seg-')) store.tags.set(tag, digest);
}

const live = async (): Promise<readonly string[]> => (await openReader(store)).view?.live.segments ?? [];

it('a newer entry that nobody signed makes way', async () => {
  await publishAt(store, paths, [app], day(0), { keys: [first] });
  await publishUnseen(20, await pathsOf(randomBytes(100_000)), []);
  expect(await signersOf(lib)).toEqual([]);
  await gcAt(store, day(21));
  const reader = await expectServed(store, [lib, app]);
  expect([await signersOf(lib, reader), await signersOf(app, reader)]).toEqual([['first-1'], ['first-1']]);
  expect(await live()).toHaveLength(1);
  // Its time counts nevertheless: somebody was told then that the path is there.
  await gcAt(store, day(45));
  await expectServed(store, [lib, app]);
  await assertSegmentsReachable(store);
});

it('two that say the same leave the signatures of both', async () => {
  await publishAt(store, paths, [app], day(0), { keys: [first] });
  await publishUnseen(1, paths, [second]);
  await gcAt(store, day(2));
  const reader = await expectServed(store, [lib, app]);
  expect(await signersOf(lib, reader)).toEqual(['first-1', 'second-1']);
  expect(await live()).toHaveLength(1);
  const tags = store.tags.size;
  await gcAt(store, day(3));
  expect(await live()).toHaveLength(1);
  expect(store.tags.size).toBeLessThanOrEqual(tags);
});

it('where keys sign different builds the newest stays, with its own signature alone', async () => {
  await publishAt(store, paths, [app], day(0), { keys: [first] });
  const other = await pathsOf(randomBytes(100_000));
  await publishUnseen(1, other, [second]);
  await gcAt(store, day(2));
  const reader = await expectServed(store, other.infos);
  expect(await signersOf(lib, reader)).toEqual(['second-1']);
  expect(await signersOf(app, reader)).toEqual(['first-1', 'second-1']);
});

it('where nobody signed anything the newest stays', async () => {
  await publishAt(store, paths, [app], day(0));
  const other = await pathsOf(randomBytes(100_000));
  await publishUnseen(1, other, []);
  await gcAt(store, day(2));
  await expectServed(store, other.infos);
});

it('a signature over something else is none', async () => {
  await publishAt(store, paths, [app], day(0), { keys: [first] });
  const forged = await pathsOf(randomBytes(100_000));
  const sigs = (await openReader(store)).findEntry(hashPartOf(lib.path))?.narInfo.sigs ?? [];
  forged.infos[0] = { ...(forged.infos[0] as PathInfo), sigs };
  await publishUnseen(1, forged, []);
  await gcAt(store, day(2));
  expect(await signersOf(lib, await expectServed(store, [lib]))).toEqual(['first-1']);
});
