/** Outputs that the cache has already: counted without Nix, and no reason to leave out what else was asked for. */
import { beforeEach, expect, it } from 'vitest';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { narBytes } from '../../src/publish/plan.ts';
import { day } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const keys = [generateKey('old-1'), generateKey('new-1')].map(({ secret }) => parseSecretKey(secret));
let paths: LocalPaths;
let app: PathInfo;
let store: MemoryStore;

/** `app` needs `lib`, which needs `base`. */
beforeEach(async () => {
  paths = new LocalPaths(await tempDir());
  const base = await paths.add('base', { data: 'x'.repeat(5000) });
  const lib = await paths.add('lib', { data: 'lib' }, [base]);
  app = await paths.add('app', { data: 'app' }, [lib]);
  store = new MemoryStore();
});

const again = (dryRun: boolean, options: Parameters<typeof publishAt>[4] = {}) =>
  publishAt(store, new LocalPaths('/nowhere'), [], day(1), { cachedPaths: [app.path], dryRun, ...options });

it.each([true, false])('are counted with all that they need (dry run: %s)', async (dryRun) => {
  await publishAt(store, paths, [app], day(0));
  const { plan, outcome } = (await again(dryRun)).result;
  expect(plan.cached.map(({ path }) => path.slice(44))).toEqual(['base', 'lib', 'app']);
  expect(narBytes(plan.cached)).toBe(narBytes(paths.infos));
  expect([plan.push, plan.sign, outcome?.pushed ?? []]).toEqual([[], [], []]);
});

it('are counted once where the local store has a part of them', async () => {
  await publishAt(store, paths, [app], day(0));
  const { plan } = (await publishAt(store, paths, paths.infos.slice(0, 1), day(1), { cachedPaths: [app.path] })).result;
  expect(plan.cached).toHaveLength(3);
});

it('are told to get the signature that they lack', async () => {
  await publishAt(store, paths, [app], day(0), { keys: keys.slice(0, 1) });
  const planned = (await again(true, { keys })).result;
  expect([planned.plan.cached.length, planned.plan.sign.length]).toEqual([0, 3]);
  const { plan, signed } = (await again(false, { keys })).result;
  expect([plan.sign.length, signed.length]).toEqual([3, 3]);
});
