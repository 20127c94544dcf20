/** What is read of a flake on this machine before Nix reads it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { committedFiles, findLocalSource } from '../../src/nix-store/source-files.ts';
import { ODD_KINDS, placeOddFile } from '../support/odd-files.ts';
import { tempDir } from '../support/temp-dir.ts';

it.each(ODD_KINDS)('a %s in the place of flake.nix holds nobody up', async (kind) => {
  const directory = await tempDir();
  await mkdir(join(directory, '.git'));
  await placeOddFile(join(directory, 'flake.nix'), kind);
  expect(await findLocalSource('.', directory)).toMatchObject({ directory, submodules: false });
});

describe('of a commit', () => {
  it('files with the pattern are given up to the size that is asked for', async () => {
    const directory = await tempDir();
    const git = (...args: string[]) =>
      execa('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', '-C', directory, ...args]);
    await git('init', '--quiet');
    for (const [name, text] of [
      ['fits', 'wanted'.padEnd(100)],
      ['long', 'wanted'.padEnd(101)],
      ['other', 'else'],
    ] as const) {
      await writeFile(join(directory, name), text);
    }
    await git('add', '.');
    await git('commit', '--quiet', '--message', 'all');
    const source = await findLocalSource(`git+file://${directory}?ref=HEAD`, '/');
    if (source === undefined) throw new Error('there is no source');
    const options = { pattern: '^wanted', maxBytes: 100 };
    const found: string[] = [];
    for await (const { path } of committedFiles(new NixCommand({ cwd: directory }), source, options)) found.push(path);
    expect(found).toEqual(['fits']);
  });
});
