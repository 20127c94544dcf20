/** A small cache on disk, published to twice, and the command line for it. */
import { join } from 'node:path';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { CacheBuilder } from '../../support/cache-builder.ts';
import { type CliResult, runCli } from '../run-cli.ts';

const ago = (days: number): Date => new Date(Date.now() - days * 24 * 60 * 60 * 1000);

/** In `home`, where commands run. */
export async function makeSmallCache(home: string): Promise<void> {
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

export const smallCacheIn = (home: string): string => `oci:${join(home, 'cache')}`;

export const runBeside = (
  home: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CliResult> =>
  runCli(args, { cwd: home, env: { HOME: home, NIXCACHE_CACHE: smallCacheIn(home), NIXCACHE_UPSTREAM: '', ...env } });
