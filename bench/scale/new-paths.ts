import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import * as z from 'zod/mini';
import { inStore } from '../support/store-namespace.ts';

/** Store paths that no synthetic cache has, in a Nix store of their own (store-namespace.ts). */
export interface NewPaths {
  /** `root`/nix is the store's /nix. */
  readonly root: string;
  /** Two sets, alike in number, sizes and references. */
  readonly a: readonly string[];
  readonly b: readonly string[];
}

const recordSchema = z.object({ a: z.array(z.string()), b: z.array(z.string()) });

/** Of one set. */
export const NEW_PATHS = 500;

/** Builds them below `dir`, or takes those that are there. */
export async function ensureNewPaths(dir: string, onStep: (step: string) => void): Promise<NewPaths> {
  const root = join(dir, 'scale-paths');
  const record = join(root, 'paths.json');
  if (existsSync(record)) return { root, ...recordSchema.parse(JSON.parse(await readFile(record, 'utf8'))) };
  onStep(`building twice ${NEW_PATHS} paths in ${root}`);
  await mkdir(join(root, 'nix'), { recursive: true });
  const sets = { a: await build(root, 'a'), b: await build(root, 'b') };
  await writeFile(`${record}.new`, JSON.stringify(sets));
  await rename(`${record}.new`, record);
  return { root, ...sets };
}

async function build(root: string, set: string): Promise<string[]> {
  const expression = fileURLToPath(new URL('paths.nix', import.meta.url));
  const { file, args } = inStore(root, {
    file: 'nix-build',
    args: [
      ...[expression, '--arg', 'count', String(NEW_PATHS), '--argstr', 'set', set, '--no-out-link'],
      ...['--max-jobs', '2', '--quiet', '--option', 'sandbox', 'false', '--option', 'build-users-group', ''],
      ...['--option', 'substitute', 'false'],
    ],
  });
  return (await execa(file, args, { stderr: 'inherit' })).stdout.split('\n');
}
