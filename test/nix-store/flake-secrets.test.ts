import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { refuseSecretFiles } from '../../src/nix-store/flake-secrets.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { tempDir } from '../support/temp-dir.ts';

const { secret } = generateKey('a-1');

interface Place {
  readonly dir: string;
  readonly refuse: (flakeRef: string, ...files: readonly string[]) => Promise<void>;
}

/** A directory with a flake in `flake/`, and with `files` that hold a key. */
async function place(files: readonly string[], { git }: { readonly git?: readonly string[] } = {}): Promise<Place> {
  const dir = await tempDir();
  await mkdir(join(dir, 'flake/sub'), { recursive: true });
  await writeFile(join(dir, 'flake/flake.nix'), '{ outputs = _: { }; }');
  await writeFile(join(dir, 'flake/sub/flake.nix'), '{ outputs = _: { }; }');
  for (const file of files) await writeFile(join(dir, file), secret);
  if (git !== undefined) {
    await execa('git', ['init', '--quiet', join(dir, 'flake')]);
    for (const file of git) await execa('git', ['-C', join(dir, 'flake'), 'add', '--', file]);
  }
  const command = new NixCommand({ cwd: join(dir, 'flake') });
  return {
    dir,
    refuse: (ref, ...named) => refuseSecretFiles(command, ref, { files: named.map((each) => join(dir, each)) }),
  };
}

describe('a flake outside of git', () => {
  it.each(['.', './', './.', '../flake', '.?submodules=1', 'path:.', 'path:../flake?lastModified=1', './sub/..'])(
    'is refused as %s with a key in it that is in use',
    async (ref) => {
      const { dir, refuse } = await place(['flake/sub/mine']);
      await expect(refuse(ref, 'flake/sub/mine')).rejects.toThrow(
        `the secret key ${dir}/flake/sub/mine lies in the flake's source ${dir}/flake, which Nix copies`,
      );
    },
  );

  it('is refused by its absolute path, and through a link', async () => {
    const { dir, refuse } = await place(['flake/mine']);
    await symlink(join(dir, 'flake'), join(dir, 'link'));
    for (const ref of [`${dir}/flake`, `path:${dir}/flake`, `${dir}/link`, `path:${encodeURI(dir)}/link`]) {
      await expect(refuse(ref, 'flake/mine')).rejects.toMatchObject({ code: 'ERR_USAGE' });
      await expect(refuse(ref, 'link/mine')).rejects.toMatchObject({ code: 'ERR_USAGE' });
    }
  });

  it('is refused with a key that lies there unused', async () => {
    const { refuse } = await place(['flake/cache.example.org-1.secret']);
    await expect(refuse('.')).rejects.toThrow('cache.example.org-1.secret lies in');
  });

  it('is what Nix finds above', async () => {
    const { refuse } = await place(['flake/sub/mine']);
    await mkdir(join((await place([])).dir, 'x'));
    await expect(refuse('./sub', 'flake/sub/mine')).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it.each([
    ['.', 'mine', 'beside it'],
    ['.', 'flake-2', 'in a file whose name begins as the directory does'],
    ['path:./sub', 'flake/mine', 'above it'],
    ['github:o/r', 'flake/mine', 'of another one'],
    ['nixpkgs', 'flake/mine', 'of another one'],
    ['sub', 'flake/sub/mine', 'of another one, for this is a name'],
    ['./none', 'flake/mine', 'and with nothing there'],
  ])('passes as %s with the key in %s, %s', async (ref, file) => {
    const { refuse } = await place([file]);
    await expect(refuse(ref, file)).resolves.toBeUndefined();
  });

  it('passes with what is called like a key and is none', async () => {
    const { dir, refuse } = await place([]);
    await writeFile(join(dir, 'flake/age.secret'), 'AGE-SECRET-KEY-1');
    await expect(refuse('.')).resolves.toBeUndefined();
  });
});

describe('a flake in git', () => {
  it.each(['.', './sub', 'git+file:.', '../flake?dir=sub'])('is refused as %s with a tracked key', async (ref) => {
    const { refuse } = await place(['flake/mine'], { git: ['mine'] });
    await expect(refuse(ref, 'flake/mine')).rejects.toThrow('take it out of git');
  });

  it('passes with a key that is not tracked, which Nix does not copy', async () => {
    const { refuse } = await place(['flake/mine', 'flake/b.secret'], { git: [] });
    await expect(refuse('.', 'flake/mine')).resolves.toBeUndefined();
    await expect(refuse('path:.', 'flake/mine')).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('passes with a tracked file whose name git could read as a pattern', async () => {
    const { refuse } = await place(['flake/*'], { git: ['flake.nix'] });
    await expect(refuse('.', 'flake/*')).resolves.toBeUndefined();
  });
});
