/** What a publish leaves on this machine, so that the next one has less to fetch and nothing to sign again. */
import { randomBytes } from 'node:crypto';
import { beforeEach, expect, it } from 'vitest';
import { openDirectoryIndex } from '../../src/cache/disk/directory-index.ts';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { IndexStore } from '../../src/cache/read/index-store.ts';
import { ENTRIES } from '../../src/cache-index/media-types.ts';
import { NixcacheError } from '../../src/errors.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { findSigner, generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import type { PublishPathsOptions } from '../../src/publish/publish-paths-options.ts';
import { openReader } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { type PublishRun, publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const [first, second, third] = ['first-1', 'second-1', 'third-1'].map((name) =>
  parseSecretKey(generateKey(name).secret),
) as [SecretKey, SecretKey, SecretKey];
let paths: LocalPaths;
let store: MemoryStore;
let app: PathInfo;
let indexDir: string;
let signatures = 0;
let fetched: string[];

beforeEach(async () => {
  fetched = [];
  store = new MemoryStore({
    onCall: (method, args) => {
      if (method === 'fetchBlob') fetched.push((args[0] as { digest: string }).digest);
    },
  });
  paths = new LocalPaths(await tempDir());
  app = await paths.add('app', { f: 'app' }, [await paths.add('lib', { f: randomBytes(1000) })]);
  indexDir = await tempDir();
});

/** The key as a new process has it, which has made no signature yet. */
const anew = (key: SecretKey): SecretKey => ({
  ...key,
  get key() {
    signatures++;
    return key.key;
  },
});

/** One publish as a process does it. */
async function run(
  days: number,
  keys: readonly SecretKey[],
  { index = 'kept', of = paths, more = {} as Partial<PublishPathsOptions> } = {},
): Promise<PublishRun> {
  const at = day(days);
  const kept = index === 'kept' ? ((await openDirectoryIndex(indexDir)) as IndexStore) : undefined;
  const reader = await IndexReader.open({ store, strict: true, index: kept, now: () => at });
  [signatures, fetched] = [0, []];
  const options: Partial<PublishPathsOptions> = { reader, keys: keys.map(anew), ...more };
  const done = await publishAt(store, of, [app], at, options);
  reader.close();
  return done;
}

/** The digests of live segments' entries. */
const entriesBlobs = (): string[] =>
  [...store.manifests.values()]
    .map(({ bytes }) => JSON.parse(String(bytes)) as { layers?: { mediaType: string; digest: string }[] })
    .flatMap(({ layers = [] }) => layers.filter(({ mediaType }) => mediaType === ENTRIES).map(({ digest }) => digest));

it('spares the next publish to fetch what this one wrote, and to sign what it signed', async () => {
  await run(0, [first]);
  expect(signatures).toBe(2);
  const written = entriesBlobs();
  expect(written.length).toBeGreaterThan(0);
  const { result } = await run(1, [first]);
  expect(result.plan.cached).toHaveLength(2);
  expect([signatures, fetched.filter((digest) => written.includes(digest))]).toEqual([0, []]);
});

it('spares that on a machine which has looked at all signatures once', async () => {
  await run(0, [first], { index: 'none' });
  await run(1, [first]);
  expect(signatures).toBe(2);
  await run(2, [first]);
  expect(signatures).toBe(0);
});

it('is done where this machine cannot keep it', async () => {
  const index = (await openDirectoryIndex(indexDir)) as IndexStore;
  const warnings: string[] = [];
  const broken: IndexStore = {
    name: index.name,
    has: (piece) => index.has(piece),
    read: (piece) => index.read(piece),
    write: (piece, bytes) => index.write(piece, bytes),
    prune: (isKept, now) => index.prune(isKept, now),
    open: () => {
      throw new NixcacheError('ERR_IO', 'no way');
    },
  };
  const reader = await IndexReader.open({
    store,
    strict: true,
    index: broken,
    onWarning: (text) => warnings.push(text),
  });
  const { result } = await publishAt(store, paths, [app], day(0), { reader, keys: [first] });
  expect(result.outcome).toMatchObject({ stopped: undefined, pushed: [{}, {}] });
  expect(warnings).toEqual([expect.stringMatching(/^segment seg-\S+ is not kept in .*: no way$/)]);
});

it('lets a key that comes late sign, and an entry that another put there be outdone', async () => {
  await run(0, [first]);
  expect((await run(1, [second, first])).result.plan.sign).toHaveLength(2);
  const narInfo = (await openReader(store)).findEntry(hashPartOf(app.path))?.narInfo;
  expect(narInfo && [first, second].map(({ publicKey }) => findSigner(narInfo, [publicKey])?.name)).toEqual([
    'first-1',
    'second-1',
  ]);
  expect((await run(2, [first, second])).result.plan.cached).toHaveLength(2);
  expect(signatures).toBe(0);
  const forged = new LocalPaths(await tempDir());
  await forged.add('app', { f: 'evil' }, [await forged.add('lib', { f: randomBytes(1000) })]);
  await run(3, [third], { index: 'none', of: forged });
  expect((await run(4, [first])).result.plan.push).toHaveLength(2);
});

it('counts only entries of which every one is signed', async () => {
  await run(0, []);
  // Listed again, as it is: what only the cache has is not signed.
  const listed = await run(20, [first], { more: { paths: [], roots: [], cachedPaths: [app.path] } });
  expect(listed.result).toMatchObject({ asserted: 2, signed: [] });
  expect((await run(21, [first])).result.plan.sign).toHaveLength(2);
});
