/** A root says that all it needs is in the cache: none is recorded that needs what was left out, however far below. */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { fetchRecords } from '../../src/cache/read/stored-records.ts';
import { announceCheckpoint, commitCheckpoint } from '../../src/cache/write/commit.ts';
import { encodeCheckpoint } from '../../src/cache-index/checkpoint.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { type HashPart, hashPartOf, nameOf } from '../../src/nix/store-path.ts';
import { asRoots } from '../../src/publish/publish-paths.ts';
import { pushPaths } from '../../src/publish/push-paths.ts';
import { day } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

let paths: LocalPaths;
let store: MemoryStore;
let lib: PathInfo;
let tool: PathInfo;
let app: PathInfo;
let other: PathInfo;

/** A library of day 0, and a tool of day 10 that needs it: on day 16, of a retention of 30, only the library is due. */
beforeEach(async () => {
  paths = new LocalPaths(await tempDir());
  store = new MemoryStore();
  lib = await paths.add('lib', { f: randomBytes(100_000) });
  tool = await paths.add('tool', { f: 'tool' }, [lib]);
  app = await paths.add('app', { f: 'app' }, [tool]);
  other = await paths.add('other', { f: 'other' });
  await publishAt(store, paths, [lib], day(0));
  await publishAt(store, paths, [tool], day(10));
});

const named = (...infos: readonly PathInfo[]) => infos.map(({ path }) => ({ name: nameOf(path), path }));

const openReader = async (): Promise<IndexReader> => {
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  return reader;
};

/** Names of the roots of the publish at `at`. */
async function rootsOf(at: Date): Promise<string[]> {
  const { view } = await openReader();
  const { roots } = view ? await fetchRecords(store, view) : { roots: [] };
  return roots.filter(({ time }) => time * 1000 === at.getTime()).map(({ name }) => name);
}

/** The cache loses the bytes of the library, and so does the machine. */
async function lose(): Promise<void> {
  const nar = (await openReader()).findEntry(hashPartOf(lib.path))?.nar[0];
  if (nar) store.blobs.delete(nar.digest);
  await rm(paths.contentPath(lib.path), { recursive: true });
}

/** A checkpoint drops the entry for good, behind the back of `reader`. */
async function drop(reader: IndexReader, hashPart: HashPart): Promise<void> {
  const checkpoint = encodeCheckpoint({
    ...{ replaces: [reader.findAsserted(hashPart)?.tag ?? ''], removed: [hashPart], segments: [], roots: [], pins: [] },
    ...{ publicKeys: [], creator: 'test', now: day(16) },
  });
  await announceCheckpoint(store, checkpoint, {});
  await commitCheckpoint(store, checkpoint, {});
}

describe('a root that needs what is left out', () => {
  it('through what is in the cache and is not listed again is not recorded, and its path is left out', async () => {
    await lose();
    const { result } = await publishAt(store, paths, [app, other], day(16));
    expect([...(result.outcome?.failed ?? [])].map(([name, reason]) => [nameOf(name), reason])).toEqual([
      ['lib', expect.stringContaining('has lost its bytes')],
      ['app', expect.stringMatching(/^it refers to .*-tool, which needs what is left out$/)],
    ]);
    expect(await rootsOf(day(16))).toEqual(['other']);
    expect((await openReader()).has(hashPartOf(app.path))).toBe(false);
  });

  it('and is itself in the cache and is not listed again is not recorded', async () => {
    await lose();
    const { result } = await publishAt(store, paths, [tool, other], day(16));
    expect([...(result.outcome?.failed.keys() ?? [])].map(nameOf)).toEqual(['lib']);
    expect(await rootsOf(day(16))).toEqual(['other']);
  });

  it('and that only the cache has is not recorded', async () => {
    await lose();
    const roots = asRoots(named(tool), { run: 'r', time: day(16).getTime() / 1000 });
    const options = { cachedPaths: [tool.path], roots };
    const { result } = await publishAt(store, paths, [], day(16), options);
    expect([...(result.outcome?.failed.keys() ?? [])].map(nameOf)).toEqual(['lib']);
    expect(await rootsOf(day(16))).toEqual([]);
  });

  it('that vanished after what needs it was committed is not recorded', async () => {
    const reader = await openReader();
    await drop(reader, hashPartOf(lib.path));
    await rm(paths.contentPath(lib.path), { recursive: true });
    let minutes = 0;
    const { failed, segments } = await pushPaths({
      ...{ store, push: [tool, app, other], asserted: [], keys: [], storeDir: '/nix/store', creator: 'test' },
      roots: asRoots(named(app, other), { run: 'r', time: day(16).getTime() / 1000 }),
      closure: () => paths.infos,
      compression: { method: 'zstd' },
      contentPath: ({ path }) => paths.contentPath(path),
      reliance: { reader, hashParts: [hashPartOf(lib.path)], local: [lib] },
      workers: 1,
      onEvent: () => undefined,
      // So slow that each path is a segment.
      now: () => new Date(day(16).getTime() + minutes++ * 600_000),
    });
    expect([...failed.keys()].map(nameOf)).toEqual(['lib']);
    expect(segments.length).toBeGreaterThan(2);
    expect(await rootsOf(day(16))).toEqual(['other']);
  });

  it('is recorded where nothing is lost', async () => {
    const { result } = await publishAt(store, paths, [app], day(16));
    expect(result.outcome?.failed.size).toBe(0);
    expect(await rootsOf(day(16))).toEqual(['app']);
  });
});
