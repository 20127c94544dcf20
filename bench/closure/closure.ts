import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import * as z from 'zod/mini';
import { inStore } from '../support/store-namespace.ts';
import { choosePackages } from './debian-packages.ts';

/** Built store paths to measure with, in a Nix store of their own (store-namespace.ts). */
export type Closure = z.infer<typeof ClosureRecord> & {
  /** `root`/nix is the store's /nix. */
  readonly root: string;
};

const ClosureRecord = z.readonly(
  z.object({
    /** Refers to all of the closure. */
    top: z.string(),
    pathCount: z.number(),
    /** Bytes of all NARs of the closure. */
    narBytes: z.number(),
    /** 400 paths that refer to nothing. */
    tiny: z.readonly(z.array(z.string())),
  }),
);

/** A closure as large as product goal and package base allow: 1.1 GiB. */
const MAX_BYTES = 1.1 * 2 ** 30;

export const cacheDir = (): string =>
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'nixcache-bench');

/** Builds the closure under `dir`, or takes the one that is there: its record is written last. */
export async function ensureClosure(dir: string): Promise<Closure> {
  const root = join(dir, 'store');
  const recordFile = join(dir, 'closure.json');
  if (existsSync(recordFile)) {
    return { ...z.parse(ClosureRecord, JSON.parse(await readFile(recordFile, 'utf8'))), root };
  }
  await mkdir(join(root, 'nix'), { recursive: true });
  const { table, lists } = await writeTable(dir);
  const expression = fileURLToPath(new URL('closure.nix', import.meta.url));
  const build = async (attribute: string): Promise<readonly string[]> => {
    const { file, args } = inStore(root, {
      file: 'nix-build',
      args: [
        ...[expression, '--attr', attribute, '--no-out-link', '--max-jobs', '2', '--quiet'],
        ...['--argstr', 'table', table, '--argstr', 'lists', lists],
        ...['--option', 'sandbox', 'false', '--option', 'build-users-group', '', '--option', 'substitute', 'false'],
      ],
    });
    return (await execa(file, args, { stderr: 'inherit' })).stdout.split('\n');
  };
  const [top = ''] = await build('closure');
  const tiny = await build('tiny');
  const record = { top, tiny, ...(await measureClosure(root, top)) };
  await writeFile(`${recordFile}.new`, JSON.stringify(record, undefined, 2));
  await rename(`${recordFile}.new`, recordFile);
  return { ...record, root };
}

async function writeTable(dir: string): Promise<{ readonly table: string; readonly lists: string }> {
  const lists = join(dir, 'lists');
  const table = join(dir, 'packages.json');
  await rm(lists, { recursive: true, force: true });
  await mkdir(lists, { recursive: true });
  const packages = await choosePackages(MAX_BYTES);
  for (const entry of packages) {
    const relative = entry.files.map((file) => `${file.slice(1)}\0`);
    await writeFile(join(lists, entry.package), relative.join(''));
  }
  await writeFile(table, JSON.stringify(packages.map(({ files: _files, ...entry }) => entry)));
  return { table, lists };
}

async function measureClosure(root: string, top: string): Promise<Pick<Closure, 'pathCount' | 'narBytes'>> {
  const query = async (...args: readonly string[]): Promise<readonly string[]> => {
    const command = inStore(root, { file: 'nix-store', args: ['--query', ...args] });
    return (await execa(command.file, command.args)).stdout.split('\n');
  };
  const paths = await query('--requisites', top);
  const sizes = await query('--size', ...paths);
  return { pathCount: paths.length, narBytes: sizes.reduce((sum, size) => sum + Number(size), 0) };
}
