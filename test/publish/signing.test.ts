/** A key that comes late signs what is there; what others put there, unsigned, keeps nothing out. */
import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { findSigner, generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import { hashPartOf, nameOf, type StorePath, toStorePath } from '../../src/nix/store-path.ts';
import type { PublishPathsOptions } from '../../src/publish/publish-paths-options.ts';
import { Signing } from '../../src/publish/signing.ts';
import { overriding } from '../model/planted-bugs.ts';
import { openReader } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { type PublishRun, publishAt, servedHash } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const [first, second] = ['first-1', 'second-1'].map((name) => parseSecretKey(generateKey(name).secret)) as [
  SecretKey,
  SecretKey,
];
let paths: LocalPaths;
let store: MemoryStore;
let lib: PathInfo;
let app: PathInfo;
/** Media types of blobs that were pushed. */
let pushed: string[];

beforeEach(async () => {
  pushed = [];
  store = new MemoryStore({
    onCall: (method, args) => {
      if (method === 'pushBlob') pushed.push((args[0] as { mediaType: string }).mediaType.replace(/.*nixcache\./, ''));
    },
  });
  paths = new LocalPaths(await tempDir());
  lib = await paths.add('lib', { f: randomBytes(100_000) });
  app = await paths.add('app', { f: 'app' }, [lib]);
});

/** What readers see of `path`, and who of the two signed that. */
async function signersOf({ path }: Pick<PathInfo, 'path'>): Promise<string[]> {
  const narInfo = (await openReader(store)).findEntry(hashPartOf(path))?.narInfo;
  if (narInfo?.path !== path) throw new Error(`${path} is not there`);
  return [first, second].filter(({ publicKey }) => findSigner(narInfo, [publicKey])).map(({ name }) => name);
}

const run = (days: number, options: Partial<PublishPathsOptions> = {}, of = paths): Promise<PublishRun> => {
  pushed.length = 0;
  return publishAt(store, of, [app], day(days), options);
};
const namesOf = (infos: readonly { readonly path: StorePath }[] | undefined) => infos?.map(({ path }) => nameOf(path));
const readBytes = ({ events }: PublishRun): number =>
  events.reduce((sum, event) => sum + (event.type === 'nar-read' ? event.bytes : 0), 0);

/** The same paths with other contents, as somebody else may claim them to be. */
async function forgery(): Promise<LocalPaths> {
  const forged = new LocalPaths(await tempDir());
  const evil = await forged.add('lib', { f: randomBytes(100_000) });
  await forged.add('app', { f: 'evil' }, [evil]);
  return forged;
}

const warningsOf = ({ events }: PublishRun): string[] =>
  events.flatMap((event) => (event.type === 'warning' ? event.message : []));

describe('what another key of the cache signed, with other contents', () => {
  it('is published anew, with a warning of who no longer finds it', async () => {
    await run(0, { keys: [first] }, await forgery());
    const own = await run(1, { keys: [second] });
    expect(namesOf(own.result.outcome?.pushed)).toEqual(['lib', 'app']);
    expect(warningsOf(own)).toEqual([
      expect.stringMatching(/^2 paths are in .* as first-1 signed them, and other contents take their place/),
    ]);
    expect(warningsOf(await run(2, { keys: [second] }))).toEqual([]);
  });

  it('is not spoken of where nobody signed it', async () => {
    await run(0, {}, await forgery());
    expect(warningsOf(await run(1, { keys: [first] }))).toEqual([]);
  });
});

describe('a key that comes late', () => {
  beforeEach(async () => void (await run(0)));

  it('signs what is there, and uploads and reads no NAR', async () => {
    const late = await run(1, { keys: [first] });
    expect(late.result).toMatchObject({ outcome: { pushed: [], failed: new Map() }, unsigned: [] });
    expect(late.result.signed.map(nameOf).sort()).toEqual(['app', 'lib']);
    expect(namesOf(late.result.plan.sign)).toEqual(['lib', 'app']);
    expect(pushed).toEqual(['entries.v1+zstd', 'segment.config.v1+json']);
    expect(readBytes(late)).toBe(0);
    expect([await signersOf(lib), await signersOf(app)]).toEqual([['first-1'], ['first-1']]);
    expect(await servedHash(await openReader(store), lib)).toBe(lib.narHash);
  });

  it('has nothing more to sign after that', async () => {
    await run(1, { keys: [first] });
    const again = await run(2, { keys: [first] });
    expect(again.result).toMatchObject({ signed: [], asserted: 0, plan: { sign: [] } });
  });

  it('says so beforehand in a dry run', async () => {
    const tags = store.tags.size;
    const dry = await run(1, { keys: [first], dryRun: true });
    expect(namesOf(dry.result.plan.sign)).toEqual(['lib', 'app']);
    expect(store.tags.size).toBe(tags);
  });

  it('adds its signature beside that of another one', async () => {
    await run(1, { keys: [first] });
    const rotated = await run(2, { keys: [second] });
    expect(rotated.result.signed).toHaveLength(2);
    expect([await signersOf(lib), await signersOf(app)]).toEqual(Array(2).fill(['first-1', 'second-1']));
    // Neither takes the other's away, nor does a publish without a key.
    expect((await run(3, { keys: [first] })).result.signed).toEqual([]);
    await run(40);
    expect(await signersOf(lib)).toEqual(['first-1', 'second-1']);
  });

  it('signs also where a look-up table stands for the entries, and fetches only theirs', async () => {
    await gcAt(store, day(1), { lookupFromEntries: 1 });
    const reader = await IndexReader.open({ store, strict: true, sparse: true, now: () => day(2) });
    expect((await run(2, { keys: [first], reader })).result.signed).toHaveLength(2);
    expect(await signersOf(app)).toEqual(['first-1']);
  });

  it('fetches no entries where a look-up table says that all are signed', async () => {
    await run(1, { keys: [first] });
    await gcAt(store, day(2), { lookupFromEntries: 1 });
    const fetched: string[] = [];
    const fetchBlob: MemoryStore['fetchBlob'] = (target, options) => {
      fetched.push(target.digest);
      return store.fetchBlob(target, options);
    };
    const counting = overriding(store, { fetchBlob });
    const open = () => IndexReader.open({ store: counting, strict: true, sparse: true, now: () => day(3) });
    expect((await run(3, { keys: [first], reader: await open() })).result).toMatchObject({ signed: [], asserted: 0 });
    const without = fetched.length;
    fetched.length = 0;
    expect((await run(3, { keys: [second], reader: await open() })).result.signed).toHaveLength(2);
    expect(fetched.length).toBeGreaterThan(without);
  });

  it('signs what only the cache has when given beside a key that signed it, and never else', async () => {
    const cachedPaths = [app.path];
    const alone = { paths: [], cachedPaths };
    expect((await run(1, { ...alone, keys: [first] })).result.signed).toEqual([]);
    expect(await signersOf(lib)).toEqual([]);
    await run(2, { keys: [first] });
    expect((await run(3, { ...alone, keys: [second] })).result.signed).toEqual([]);
    expect((await run(4, { ...alone, keys: [first, second] })).result.signed).toHaveLength(2);
    expect(await signersOf(app)).toEqual(['first-1', 'second-1']);
  });

  it('keeps what gc compacts signed', async () => {
    await run(1, { keys: [first] });
    for (const days of [3, 6]) await gcAt(store, day(days));
    expect([await signersOf(lib), await signersOf(app)]).toEqual([['first-1'], ['first-1']]);
  });
});

describe('what somebody without the key put there', () => {
  it('is replaced where its bytes are others', async () => {
    await run(0, {}, await forgery());
    const genuine = await run(1, { keys: [first] });
    expect(namesOf(genuine.result.outcome?.pushed)).toEqual(['lib', 'app']);
    const reader = await openReader(store);
    for (const info of [lib, app]) {
      expect(await servedHash(reader, info)).toBe(info.narHash);
      expect(await signersOf(info)).toEqual(['first-1']);
    }
  });

  it('is replaced also where it was put there by a clock that is ahead', async () => {
    await run(0.1, {}, await forgery());
    await run(0, { keys: [first] });
    expect(await servedHash(await openReader(store), lib)).toBe(lib.narHash);
    await run(0.2);
    expect((await run(0, { keys: [second] })).result.signed).toHaveLength(2);
    expect(await signersOf(app)).toEqual(['first-1', 'second-1']);
  });

  it.each([
    ['up to a day', 23, 23],
    ['no further: such a clock is wrong', 25, 0],
  ])('gets a time behind it where that clock is ahead, %s', async (_, hoursAhead, hours) => {
    await run(hoursAhead / 24, {}, await forgery());
    const { result } = await run(0, { keys: [first] });
    const times = result.outcome?.segments.map(({ tag }) =>
      Math.round(((parseTag(tag)?.time ?? 0) - +day(0)) / 3_600_000),
    );
    expect(times).toEqual([hours]);
  });

  it('is not listed again in the place of what is pushed, also when that is due', async () => {
    const forged = await forgery();
    await run(0, {}, forged);
    // Of the genuine ones one is there, needs the forged one, and is due.
    const genuineApp = await publishAt(store, paths, [app], day(1), { keys: [first], excludePaths: [/-lib$/] });
    expect(genuineApp.result.unsigned.map(nameOf)).toEqual(['lib']);
    await run(20, { keys: [first] });
    expect(await servedHash(await openReader(store), lib)).toBe(lib.narHash);
    expect(await signersOf(lib)).toEqual(['first-1']);
  });

  it.each([
    ['', []],
    [', also where our own key signed that', [first]],
  ])('is replaced where it has another name%s', async (_, keys) => {
    const path = toStorePath(`${hashPartOf(app.path)}-evil` as never);
    const evil = { ...app, path };
    await publishAt(store, Object.assign(new LocalPaths(paths.directory), { infos: [lib, evil] }), [evil], day(0), {
      keys,
      localStore: {
        storeDir: '/nix/store',
        queryClosure: async () => [lib, evil],
        queryBuildClosure: async () => [],
        queryRealisations: async () => new Map(),
        queryPathInfos: async () => [],
        queryValidPaths: async () => new Set(),
        contentPath: (of) => paths.contentPath(of === path ? app.path : of),
      },
    });
    const genuine = await run(1, { keys: [first] });
    expect(namesOf(genuine.result.outcome?.pushed)).toEqual(['app']);
    expect(await signersOf(app)).toEqual(['first-1']);
  });

  it('is replaced where it bears a signature that is over something else', async () => {
    const forged = await forgery();
    await run(0, { keys: [first] });
    const stolen = (await openReader(store)).findEntry(hashPartOf(lib.path))?.narInfo.sigs ?? [];
    for (const [i, info] of forged.infos.entries()) forged.infos[i] = { ...info, sigs: stolen };
    store = new MemoryStore();
    await run(0, {}, forged);
    await run(1, { keys: [first] });
    expect(await servedHash(await openReader(store), lib)).toBe(lib.narHash);
    expect(await signersOf(lib)).toEqual(['first-1']);
  });

  it('does not get its deriver and content address signed along', async () => {
    const claimed = new LocalPaths(paths.directory);
    const deriver = `${hashPartOf(lib.path)}-evil.drv` as never;
    const ca = `fixed:r:${lib.narHash}`;
    claimed.infos.push(...paths.infos.map((info) => ({ ...info, deriver, ca })));
    await run(0, {}, claimed);
    paths.infos[1] = { ...app, deriver: `${hashPartOf(app.path)}-app.drv` as never };
    await run(1, { keys: [first] });
    const narInfo = (await openReader(store)).findEntry(hashPartOf(app.path))?.narInfo;
    expect([narInfo?.deriver?.slice(33), narInfo?.ca]).toEqual(['app.drv', undefined]);
    expect(pushed).not.toContain('pack.v1');
  });

  it('stays where the user leaves the path out, which is said', async () => {
    await run(0, {}, await forgery());
    const of = await run(1, { keys: [first], excludePaths: [/-lib$/] });
    expect(of.result.unsigned.map(nameOf)).toEqual(['lib']);
    expect(warningsOf(of).join('\n')).toContain('unsigned, and stays so');
  });
});

describe('what another machine with the same key built differently', () => {
  it('stays', async () => {
    await run(0, { keys: [first] }, await forgery());
    const { result } = await run(1, { keys: [first] });
    expect(result).toMatchObject({ outcome: { pushed: [] }, signed: [] });
  });
});

describe('a publish without a key', () => {
  it('into a signed cache says what that means', async () => {
    await run(0, { keys: [first], excludePaths: [/-app$/] });
    expect(warningsOf(await run(1))).toEqual([
      expect.stringMatching(/is signed by first-1, and what is pushed now is not/),
    ]);
  });

  it('says nothing of it where nothing is pushed, or nothing is signed', async () => {
    await run(0, { keys: [first] });
    expect(warningsOf(await run(1))).toEqual([]);
    store = new MemoryStore();
    expect(warningsOf(await run(0))).toEqual([]);
  });
});

it('what is there and not at hand, since a look-up table says that it is signed, is kept', () => {
  const { path } = lib;
  const standing = (has: boolean) =>
    new Signing([first], { has: () => has, findAsserted: () => undefined }, [lib]).standingOf({ path });
  expect([standing(true), standing(false)]).toEqual(['kept', 'absent']);
});
