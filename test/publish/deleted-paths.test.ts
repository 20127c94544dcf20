/** Nix's garbage collector at work while paths are pushed: it takes a path out of the database, then deletes its files. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { NarRunner } from '../../src/nar/nar-job.ts';
import { NarPool } from '../../src/nar/nar-pool.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { baseNameOf } from '../../src/nix/store-path.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { expectServed, publishAt, servedHash } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const AT = new Date('2026-11-20T12:00:00Z');

async function someApps(): Promise<{
  paths: LocalPaths;
  lib: PathInfo;
  gone: PathInfo;
  app: PathInfo;
  other: PathInfo;
}> {
  const paths = new LocalPaths(await tempDir());
  const lib = await paths.add('lib', { so: 'lib' });
  const gone = await paths.add('gone', { a: 'a', b: 'b' }, [lib]);
  const app = await paths.add('app', { app: 'app' }, [gone]);
  const other = await paths.add('other', { other: 'other' }, [lib]);
  return { paths, lib, gone, app, other };
}

/** Does `before` to `path` as soon as somebody wants to read it. */
function interfering(path: string, before: () => Promise<unknown>): NarRunner {
  const pool = new NarPool(2);
  return {
    run: async (job, onProgress) => {
      if (job.storePath === path) await before();
      return pool.run(job, onProgress);
    },
    close: () => pool.close(),
  };
}

it.each([
  ['whole', ''],
  ['half', '/a'],
])('names a path that is deleted (%s) before it is read, and what needs it, and commits the rest', async (_, part) => {
  const { paths, lib, gone, app, other } = await someApps();
  const pool = interfering(gone.path, async () => {
    paths.infos.splice(paths.infos.indexOf(gone), 1);
    await rm(join(paths.contentPath(gone.path) + part), { recursive: true });
  });
  const store = new MemoryStore();
  const { result, events } = await publishAt(store, paths, [app, other], AT, { pool });
  const failed = result.outcome?.failed;
  expect([...(failed?.keys() ?? [])].sort()).toEqual([gone, app].map(({ path }) => baseNameOf(path)).sort());
  expect(failed?.get(baseNameOf(gone.path))).toMatch(
    /was deleted from the local store before it was read.*nix store gc/,
  );
  const warnings = events.flatMap((event) => (event.type === 'warning' ? event.message : []));
  expect(warnings.join('\n')).not.toMatch(/damage|repair-path/);
  const reader = await expectServed(store, [lib, other]);
  expect(await servedHash(reader, app)).toBeUndefined();
});

it('still speaks of damage where the store has the path, and its files are other ones', async () => {
  const { paths, gone, app } = await someApps();
  const pool = interfering(gone.path, () => writeFile(join(paths.contentPath(gone.path), 'a'), 'changed'));
  const { result } = await publishAt(new MemoryStore(), paths, [app], AT, { pool });
  expect(result.outcome?.failed.get(baseNameOf(gone.path))).toMatch(/damaged, try nix-store --repair-path/);
});
