import { join } from 'node:path';
import { expect, it } from 'vitest';
import { toStorePath } from '../../../../src/nix/store-path.ts';
import { LayoutStore } from '../../../../src/oci/layout/layout-store.ts';
import { baseNameFor, CacheBuilder } from '../../../support/cache-builder.ts';
import { tempDir } from '../../../support/temp-dir.ts';
import { runCli } from '../../run-cli.ts';

const ago = (days: number): Date => new Date(Date.now() - days * 24 * 60 * 60 * 1000);

it('tells what it would drop, then drops it', async () => {
  const home = await tempDir();
  const layout = join(home, 'cache');
  const builder = new CacheBuilder(await LayoutStore.open(layout, { create: true }));
  await builder.publish({ at: ago(5), paths: ['old'] });
  await builder.publish({ at: ago(1), paths: ['new'] });
  const gc = (...args: string[]) => runCli(['gc', '--cache', `oci:${layout}`, ...args], { env: { HOME: home } });
  const [old, kept] = [toStorePath(baseNameFor('old')), toStorePath(baseNameFor('new'))];

  const all = await gc('--json');
  expect(JSON.parse(all.stdout)).toMatchObject({ dropped: { entries: 0 }, kept: { entries: 2 } });
  const args = ['--retain', '3d', '--grace', '5m'];
  const would = await gc(...args, '--dry-run');
  expect(would).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(old) });
  expect(would.stdout).not.toContain(kept);
  expect(would.stderr).toMatch(/^warning: a grace period of 300 s is safe only while nothing else writes/m);
  expect(would.stderr).toMatch(/^would delete \d+ manifests?, free \S+ \S+ in \d+ blobs?$/m);
  expect(would.stderr).toMatch(/^would drop 1 path \(.*; kept 1 path /m);
  const did = await gc(...args, '--json');
  expect(JSON.parse(did.stdout)).toMatchObject({ dropped: { entries: 1, paths: [{ path: old }] } });
  expect(did.stderr).toMatch(
    /waits? for the end of the grace period, \d{4}-\d\d-\d\d \d\d:\d\d UTC; run gc again then$/m,
  );
});
