import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { refuseSecretFiles } from '../../src/nix-store/flake-secrets.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { tempDir } from '../support/temp-dir.ts';

const { secret, public: publicKey } = generateKey('a-1');

interface Place {
  readonly dir: string;
  readonly refuse: (flakeRef: string, ...files: readonly string[]) => Promise<void>;
  readonly git: (...args: readonly string[]) => Promise<unknown>;
}

/** Git as it is without settings of the user's. */
const GIT = ['-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'protocol.file.allow=always', '-C'];

async function put(dir: string, file: string, text = secret): Promise<void> {
  await mkdir(dirname(join(dir, file)), { recursive: true });
  await writeFile(join(dir, file), text);
}

/** A directory with a flake in `flake/`, and with `files` that hold a key. */
async function place(files: readonly string[], { git }: { readonly git?: readonly string[] } = {}): Promise<Place> {
  const dir = await tempDir();
  await mkdir(join(dir, 'flake/sub'), { recursive: true });
  await writeFile(join(dir, 'flake/flake.nix'), '{ outputs = _: { }; }');
  await writeFile(join(dir, 'flake/sub/flake.nix'), '{ outputs = _: { }; }');
  for (const file of files) await put(dir, file);
  const run = (...args: readonly string[]) => execa('git', [...GIT, join(dir, 'flake'), ...args]);
  if (git !== undefined) {
    await run('init', '--quiet');
    for (const file of git) await run('add', '--', file);
  }
  const command = new NixCommand({ cwd: join(dir, 'flake') });
  const keys = [parseSecretKey(secret)];
  return {
    ...{ dir, git: run },
    refuse: (ref, ...named) => refuseSecretFiles(command, ref, { keys, files: named.map((each) => join(dir, each)) }),
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

/** One without a part of what makes it a key. */
const other = generateKey('other-1').secret;
const DAMAGED = `${secret.slice(0, 30)}${secret[30] === 'A' ? 'B' : 'A'}${secret.slice(31)}`;

describe('what a file has in it', () => {
  it.each([
    ['a key that is in use', secret],
    ['another key', other],
    ['with a new line at its end', `${other}\r\n`],
    ['broken into lines', `${other.slice(0, 60)}\n${other.slice(60)}\n`],
    ['without the end that base64 has', other.replace(/=+$/, '')],
    ['a variable', `NIX_SIGNING_KEY=${other}\n`],
    ['one in use, among other things', `export A=b\nexport NIX_SIGNING_KEY='${secret}' # mine\n`],
    ['one in use, under another name', `  "key": "${secret.slice(secret.indexOf(':') + 1)}",\n`],
  ])('refuses it: %s', async (_, text) => {
    const { dir, refuse } = await place([]);
    await put(dir, 'flake/a/b c/z.key', text);
    await expect(refuse('.')).rejects.toThrow(`the secret key ${dir}/flake/a/b c/z.key lies in the flake's source`);
  });

  it.each([
    ['a public key', publicKey],
    ['a key whose halves do not belong together', DAMAGED],
    ['64 other bytes', `sha512:${Buffer.alloc(64, 7).toString('base64')}`],
    ['half of a key', secret.slice(0, 50)],
    ['nothing', ''],
    ['more than a key file has', `${'#'.repeat(5000)}\n${secret}`],
  ])('lets it pass: %s', async (_, text) => {
    const { dir, refuse } = await place([]);
    await put(dir, 'flake/z.secret', text);
    await expect(refuse('.')).resolves.toBeUndefined();
  });

  it('lets a link to a key pass, which Nix copies as a link, and follows none', async () => {
    const { dir, refuse } = await place(['keys/a.secret']);
    await symlink('../keys/a.secret', join(dir, 'flake/a.secret'));
    await symlink('../keys', join(dir, 'flake/keys'));
    await expect(refuse('.')).resolves.toBeUndefined();
  });

  it('is looked at in each of many files', async () => {
    const { dir, refuse } = await place([]);
    for (let i = 0; i < 1500; i++) await writeFile(join(dir, 'flake/sub', `${i}`), `${i}`.repeat(100));
    await expect(refuse('.')).resolves.toBeUndefined();
    await put(dir, 'flake/sub/1499');
    await expect(refuse('.')).rejects.toThrow('flake/sub/1499 lies in');
  });

  it('is looked at until the command is stopped', async () => {
    const { dir } = await place([]);
    for (let i = 0; i < 600; i++) await writeFile(join(dir, 'flake', `${i}`), '');
    const options = { files: [], keys: [], signal: AbortSignal.abort(new Error('enough')) };
    await expect(refuseSecretFiles(new NixCommand({ cwd: dir }), './flake', options)).rejects.toThrow('enough');
  });
});

describe('a flake in git', () => {
  it.each(['.', './sub', '.?dir=sub', 'git+file:.'])('is refused as %s with a key below that git has', async (ref) => {
    const { dir, refuse } = await place(['flake/keys/cache.secret'], { git: ['keys/cache.secret'] });
    await expect(refuse(ref)).rejects.toThrow(`${dir}/flake/keys/cache.secret lies in`);
  });

  it('passes when the file that it has is gone, and git itself is not looked at', async () => {
    const { dir, refuse } = await place(['flake/keys/cache.secret', 'flake/.git/a'], { git: ['keys/cache.secret'] });
    await rm(join(dir, 'flake/keys'), { recursive: true });
    await expect(refuse('.')).resolves.toBeUndefined();
    await expect(refuse('path:.')).rejects.toThrow('flake/.git/a lies in');
  });

  it('is looked at as a whole where git cannot tell what it has', async () => {
    const { dir, refuse } = await place(['flake/x/a.key']);
    await mkdir(join(dir, 'flake/.git'));
    await writeFile(join(dir, 'flake/.git/a'), other);
    await expect(refuse('.')).rejects.toThrow('flake/x/a.key lies in');
    await rm(join(dir, 'flake/x'), { recursive: true });
    await expect(refuse('.')).resolves.toBeUndefined();
  });

  it('is looked at with its submodules where those are copied', async () => {
    const inner = await place(['flake/deep/in.key'], { git: ['deep/in.key'] });
    await inner.git('commit', '--quiet', '-m', 'a');
    const { dir, git, refuse } = await place([], { git: ['flake.nix'] });
    await git('submodule', '--quiet', 'add', join(inner.dir, 'flake'), 'mod');
    for (const ref of ['.', 'git+file:.?submodules=0']) await expect(refuse(ref)).resolves.toBeUndefined();
    await expect(refuse('.?submodules=1')).rejects.toThrow(`${dir}/flake/mod/deep/in.key lies in`);
    await writeFile(join(dir, 'flake/flake.nix'), '{ inputs.self.submodules = true; outputs = _: { }; }');
    await expect(refuse('.')).rejects.toThrow('mod/deep/in.key lies in');
  });

  it('is looked at as the commit has it, where one is asked for', async () => {
    const { dir, git, refuse } = await place(['flake/keys/é 1.key'], { git: ['flake.nix', 'keys'] });
    await git('commit', '--quiet', '-m', 'with');
    const { stdout: rev } = await execa('git', [...GIT, join(dir, 'flake'), 'rev-parse', 'HEAD']);
    await git('tag', 'with');
    await git('rm', '--quiet', '-r', 'keys');
    await put(dir, 'flake/lock.json', `"sha512-${Buffer.alloc(64, 7).toString('base64')}"`);
    await git('add', 'lock.json');
    await git('commit', '--quiet', '-m', 'without');
    await git('tag', 'without');
    for (const ref of ['.', '.?ref=without', '.?ref=none', '.?ref=--help']) {
      await expect(refuse(ref)).resolves.toBeUndefined();
    }
    for (const ref of [`.?rev=${rev}`, '.?ref=with', `git+file://${dir}/flake?ref=with`]) {
      await expect(refuse(ref)).rejects.toThrow('the secret key keys/é 1.key in ');
    }
    await execa('git', ['clone', '--quiet', '--bare', '--branch', 'with', join(dir, 'flake'), join(dir, 'bare.git')]);
    await expect(refuse(`git+file://${dir}/bare.git?ref=with`)).rejects.toThrow('keys/é 1.key in with lies');
    await expect(refuse(`git+file://${dir}/bare.git`)).rejects.toThrow('keys/é 1.key in HEAD lies');
  });

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

describe('an input on this machine', () => {
  const flakeWith = (inputs: string): string => `{ inputs = { ${inputs} }; outputs = _: { }; }`;
  const lockOf = (locked: Record<string, string>): string =>
    JSON.stringify({ version: 7, root: 'root', nodes: { root: { inputs: { dep: 'dep' } }, dep: { locked } } });

  it.each([
    ['dep/mine', 'path:DIR/dep', 'dep = { url = "path:DIR/dep"; flake = false; };'],
    ['dep/mine', 'DIR/dep', 'dep.url = "DIR/dep";'],
    ['dep/sub/mine', 'path:../dep', 'dep.url = "path:../dep";'],
    ['dep/mine', 'a path', 'dep = { type = "path"; path = "DIR/dep"; };'],
  ])('is refused with %s, named as %s', async (file, _, inputs) => {
    const { dir, refuse } = await place([file]);
    await put(dir, 'flake/flake.nix', flakeWith(inputs.replaceAll('DIR', dir)));
    await expect(refuse('.')).rejects.toThrow(`the secret key ${dir}/${file} lies in the flake's source ${dir}/dep`);
  });

  it('is refused where flake.lock alone names it', async () => {
    const { dir, refuse } = await place(['dep #1/mine']);
    await put(dir, 'flake/flake.lock', lockOf({ type: 'path', path: `${dir}/dep #1` }));
    await expect(refuse('.')).rejects.toThrow(`${dir}/dep #1/mine lies in`);
  });

  it('is refused with what its commit holds', async () => {
    const { dir, refuse } = await place([]);
    const dep = await place(['flake/mine'], { git: ['mine'] });
    await dep.git('commit', '--quiet', '-m', 'all');
    await rm(join(dep.dir, 'flake/mine'));
    const url = `file://${dep.dir}/flake`;
    await put(dir, 'flake/flake.lock', lockOf({ type: 'git', url, rev: 'HEAD' }));
    await expect(refuse('.')).rejects.toThrow('mine in HEAD lies in');
  });

  it('is refused as an input of an input, and looked at once where they name each other', async () => {
    const { dir, refuse } = await place(['deep/mine']);
    await put(dir, 'flake/flake.nix', flakeWith(`dep.url = "path:${dir}/dep";`));
    await put(dir, 'dep/flake.nix', flakeWith(`back.url = "path:${dir}/flake"; deep.url = "path:${dir}/deep";`));
    await expect(refuse('.')).rejects.toThrow(`${dir}/deep/mine lies in`);
    await rm(join(dir, 'deep/mine'));
    await expect(refuse('.')).resolves.toBeUndefined();
  });

  it('from elsewhere, or that is not there, is no concern', async () => {
    const { dir, refuse } = await place([]);
    await put(dir, 'flake/flake.nix', flakeWith('a.url = "github:o/r"; b.url = "path:/nowhere/at/all";'));
    await put(dir, 'flake/flake.lock', '{ "nodes": 7 }');
    await expect(refuse('.')).resolves.toBeUndefined();
  });
});
