/** A small cache on disk, published to twice, and the command line for it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { CacheBuilder } from '../../support/cache-builder.ts';
import { type CliResult, runCli } from '../run-cli.ts';

const ago = (days: number): Date => new Date(Date.now() - days * 24 * 60 * 60 * 1000);

/** In `home`, where commands run. */
async function makeSmallCache(home: string): Promise<void> {
  const builder = new CacheBuilder(await LayoutStore.open(join(home, 'cache'), { create: true }));
  await builder.publish({
    at: ago(90),
    paths: ['libc', { name: 'hello-1', references: ['libc'] }],
    roots: ['hello-1'],
  });
  await builder.publish({
    at: ago(5),
    paths: [{ name: 'hello-2', references: ['libc'] }, 'hello-2-doc'],
    roots: ['hello-2'],
  });
}

export interface SmallCache {
  /** The directory where commands run. */
  readonly home: string;
  readonly reference: string;
  nixcache(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CliResult>;
}

/** One for all tests of a file, which it is there for from the first of them on. */
export function smallCache(): SmallCache {
  let home = '';
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'nixcache-test-'));
    await makeSmallCache(home);
  });
  afterAll(() => rm(home, { recursive: true, force: true }));
  const referenceIn = (directory: string): string => `oci:${join(directory, 'cache')}`;
  return {
    get home() {
      return home;
    },
    get reference() {
      return referenceIn(home);
    },
    nixcache: (args, env) =>
      runCli(args, {
        cwd: home,
        env: { HOME: home, NIXCACHE_CACHE: referenceIn(home), NIXCACHE_UPSTREAM: 'none', ...env },
      }),
  };
}
