import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { NarWriter } from '../../src/nar/nar-writer.ts';
import { baseNameOf } from '../../src/nix/store-path.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { writeLegacyCache } from '../support/legacy-cache.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { tempDir } from '../support/temp-dir.ts';
import { runCli } from './run-cli.ts';

let cache: string;
let name: string;
let home: string;

beforeEach(async () => {
  home = await tempDir();
  cache = `oci:${join(home, 'cache')}`;
  const paths = new LocalPaths(join(home, 'paths'));
  const { path } = await paths.add('app', { f: 'an application' });
  name = baseNameOf(path);
  const nar = Buffer.concat([...new NarWriter(paths.contentPath(path))].map((chunk) => Buffer.from(chunk)));
  const store = await LayoutStore.open(join(home, 'cache'), { create: true });
  await writeLegacyCache(store, [{ baseName: baseNameOf(path), nar }], { roots: [baseNameOf(path)] });
});

const run = (...args: readonly string[]) => runCli([...args, '--cache', cache], { env: { HOME: home } });
const tags = async (): Promise<string[]> => (await LayoutStore.open(join(home, 'cache'), { create: false })).listTags();

it('an older cache is listed and looked into, and left as it is', async () => {
  const listed = await run('list', '--entries', '--json');
  expect(listed).toMatchObject({ exitCode: 0 });
  expect(listed.stdout).toContain(name);
  expect((await run('info', name, '--json')).stdout).toContain(name);
  expect(await run('gc', '--dry-run')).toMatchObject({ exitCode: 0 });
  expect(await tags()).toEqual(['cache-index']);
});

it('an older cache is converted by the first command that writes to it', async () => {
  expect(await run('pin', 'kept', name)).toMatchObject({ exitCode: 0 });
  expect((await tags()).filter((tag) => tag.startsWith('seg-')).length).toBeGreaterThanOrEqual(2);
  expect(await run('gc', '--retain', '1s', '--grace', '1h')).toMatchObject({ exitCode: 0 });
  expect((await run('list', '--entries', '--json')).stdout).toContain(name);
});

it('a repair of an older cache that is only planned says that it would be converted first', async () => {
  const { stderr } = await run('verify', '--repair', '--dry-run', '--no-upstream');
  expect(stderr).toContain('is a cache of cmspam/nixcache-oci: it would be converted first');
  expect(await tags()).toEqual(['cache-index']);
});

it('a cache that came out of an archive without its empty directories is written to', async () => {
  await rm(join(home, 'cache/.ingest'), { recursive: true });
  expect(await run('pin', 'kept', name)).toMatchObject({ exitCode: 0 });
});
