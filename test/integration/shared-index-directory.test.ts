/** Two serves, of two caches, that were told the same index directory: neither ever serves what the other's cache has. */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { startCli } from '../cli/run-cli.ts';
import { CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const NAMES = ['a', 'b'] as const;

it('each serves its own, also after a restart without its cache', async () => {
  const directory = await tempDir();
  const pathOf = (name: string): string => join(directory, `cache-${name}`);
  for (const name of NAMES) {
    const store = await LayoutStore.open(pathOf(name), { create: true });
    await new CacheBuilder(store).publish({ at: day(0), paths: [name] });
  }
  const start = (name: string) => {
    const args = ['--cache', `oci:${pathOf(name)}`, '--port', '0', '--index-dir', join(directory, 'index')];
    return startCli(['serve', '--no-upstream', ...args], { env: { HOME: directory } });
  };
  const statusesOf = async (firstLine: string): Promise<number[]> => {
    const url = /http:\/\/[^ ]+/.exec(firstLine)?.[0] ?? '';
    const answers = NAMES.map((name) => fetch(new URL(`/${hashPartFor(name)}.narinfo`, url)));
    return (await Promise.all(answers)).map(({ status }) => status);
  };
  {
    // At the same time: both find the directory empty.
    const [a, b] = await Promise.all(NAMES.map(start));
    await using _a = a;
    await using _b = b;
    expect(await statusesOf(a?.firstLine ?? '')).toEqual([200, 404]);
    expect(await statusesOf(b?.firstLine ?? '')).toEqual([404, 200]);
  }
  for (const name of NAMES) await rename(pathOf(name), `${pathOf(name)}-away`);
  const [again, other] = await Promise.all(NAMES.map(start));
  await using _again = again;
  await using _other = other;
  expect((await statusesOf(again?.firstLine ?? ''))[1]).toBe(404);
  expect((await statusesOf(other?.firstLine ?? ''))[0]).toBe(404);
});
