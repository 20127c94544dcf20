import { watch } from 'node:fs';
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { nixcache, requireBuild, startServe } from '../support/e2e-cli.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { FAKE_USER } from '../support/fake-registry-auth.ts';
import { tempDir } from '../support/temp-dir.ts';

requireBuild();

const BIN = fileURLToPath(new URL('../../bin/nixcache.js', import.meta.url));
/** Without the Node that npm scripts get: the machine's own is left, which may be an older one. */
const PATH = (process.env['PATH'] ?? '')
  .split(':')
  .filter((directory) => !directory.includes('node_modules'))
  .join(':');

/** Writes the environment and the command line of every ancestor to $OUT, as a build without a sandbox could. */
const READS_ANCESTORS = `#!/bin/sh
pid=$PPID
while [ "$pid" -gt 1 ]; do
  tr '\\0' '\\n' < /proc/$pid/environ >> "$OUT"
  tr '\\0' ' ' < /proc/$pid/cmdline >> "$OUT"
  pid=$(sed 's/.*) . \\([0-9]*\\).*/\\1/' /proc/$pid/stat)
done
exit 1
`;

it("starts by itself under the machine's own Node, whatever its version", async () => {
  const { stdout } = await execa(BIN, ['--version'], { env: { PATH }, extendEnv: false });
  expect(stdout).toMatch(/^nixcache [0-9]/);
  expect(await execa(BIN, ['nonsense'], { env: { PATH }, extendEnv: false, reject: false })).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("unknown command 'nonsense'"),
  });
});

it.each([
  ['which starts once more in the same process', ['copy', 'oci:.', 'oci:x', '-'], 2, '/nix/nothing'],
  ['which does not', ['push', '-', '--to', 'oci:/nonexistent/x'], 1, 'no Nix found'],
])('gives a job, %s, its arguments, input and exit code', async (_, args, code, message) => {
  const cwd = await tempDir();
  await writeFile(join(cwd, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(join(cwd, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
  const { stderr, exitCode, all } = await execa(process.execPath, [BIN, ...args], {
    env: { PATH: '/nonexistent' },
    cwd,
    extendEnv: false,
    reject: false,
    all: true,
    input: '/nix/nothing\n',
  });
  expect(stderr).toContain(message);
  expect(all).not.toContain('xperimental');
  expect(exitCode).toBe(code);
});

describe('a temporary directory that is none', () => {
  const version = (TMPDIR: string, bin = process.execPath, env: Readonly<Record<string, string>> = {}) =>
    execa(bin, [BIN, '--version'], { env: { PATH, TMPDIR, ...env }, extendEnv: false, timeout: 60_000 });

  it.each(['/proc', '/proc/self/fd', '/sys', '/dev/null', '/dev/null/x', 'missing', 'missing/too', 'a-file', 'a-link'])(
    'as %s, holds no start up and is no reason to fail',
    async (name) => {
      const home = await tempDir();
      await writeFile(join(home, 'a-file'), '');
      await symlink('/proc', join(home, 'a-link'));
      const { stdout, stderr } = await version(resolve(home, name), process.execPath, { NIXCACHE_PASSWORD: 'x' });
      expect(stdout).toMatch(/^nixcache [0-9]/);
      expect(stderr).toBe('');
      expect((await readdir(home)).sort()).toEqual(['a-file', 'a-link']);
    },
  );

  it('gets a directory that is ours alone, and nothing where somebody else has put one there', async () => {
    const home = await tempDir();
    const name = `node-compile-cache-${process.getuid?.()}`;
    await version(home);
    expect(await readdir(home)).toEqual([name]);
    expect((await stat(join(home, name))).mode & 0o777).toBe(0o700);
    const other = await tempDir();
    await mkdir(join(other, 'elsewhere'));
    await symlink('elsewhere', join(other, name));
    await version(other);
    expect(await readdir(join(other, 'elsewhere'))).toEqual([]);
    const open = await tempDir();
    await mkdir(join(open, name));
    await chmod(join(open, name), 0o777);
    await version(open);
    expect(await readdir(join(open, name))).toEqual([]);
  });
});

describe('secrets in the environment', () => {
  const SECRETS = {
    NIX_SIGNING_KEY: generateKey('a-1').secret,
    NIXCACHE_PASSWORD: 'opensesame77',
    GITHUB_TOKEN: 'ghp_0123456789',
    AWS_SECRET_ACCESS_KEY: 'wJalrXUtnFEMI',
    NIXCACHE_UPSTREAM: 'http://me:hunter2222@127.0.0.1:1',
  };

  it('are in none that other programs can read, while a command runs', async () => {
    const home = await tempDir();
    const env = { PATH: process.env['PATH'] ?? '', HOME: home, XDG_RUNTIME_DIR: home, LANG: 'C.UTF-8', ...SECRETS };
    await using server = await startServe(['--from', `oci:${join(home, 'cache')}`, '--no-upstream'], { env });
    const block = await readFile(`/proc/${server.pid}/environ`, 'utf8');
    expect(block).toContain('LANG=C.UTF-8');
    for (const [name, secret] of Object.entries(SECRETS)) {
      expect(block).not.toContain(name);
      expect(block).not.toContain(secret);
    }
  });

  it.each([
    ['which starts once', ['list', '--from', 'oci:none']],
    ['which starts once more in the same process', ['verify', '--from', 'oci:none']],
  ])('are written to no file, which would stay behind when a command, %s, is killed', async (_, args) => {
    const home = await tempDir();
    const places = { HOME: await tempDir(), TMPDIR: home, XDG_RUNTIME_DIR: home };
    const made: string[] = [];
    const watcher = watch(home, (_, name) => made.push(name ?? ''));
    onTestFinished(() => watcher.close());
    const { stderr } = await nixcache(args, { env: { PATH, ...places, ...SECRETS }, cwd: home });
    expect(stderr).toContain('no cache');
    await writeFile(join(home, 'last'), '');
    await vi.waitFor(() => expect(made).toContain('last'));
    expect(made.filter((name) => !name.startsWith('node-compile-cache-') && name !== 'last')).toEqual([]);
  });

  it("are in none of those that a build can read, also under the machine's own Node", async () => {
    const home = await tempDir();
    await mkdir(join(home, 'bin'));
    await writeFile(join(home, 'bin/nix'), READS_ANCESTORS, { mode: 0o755 });
    await writeFile(join(home, 'flake.nix'), '{ outputs = _: { }; }');
    const env = {
      PATH: `${join(home, 'bin')}:${PATH}`,
      HOME: home,
      OUT: join(home, 'out'),
      LANG: 'C.UTF-8',
      ...SECRETS,
    };
    const { stderr } = await execa(BIN, ['discover', '.'], { env, cwd: home, extendEnv: false, reject: false });
    expect(stderr).not.toContain('does not let secrets');
    const seen = await readFile(join(home, 'out'), 'utf8');
    expect(seen).toContain('LANG=C.UTF-8');
    expect(seen).toContain('bin/nixcache.js');
    for (const secret of Object.values(SECRETS)) expect(seen).not.toContain(secret);
  });

  it.each([
    ['ours', process.execPath],
    ["the machine's own", 'node'],
  ])('reach the command all the same, under a Node that is %s', async (_, node) => {
    const registry = await FakeRegistry.start({ auth: 'basic' });
    onTestFinished(() => registry.close());
    const home = await tempDir();
    const env = { PATH, HOME: home, NIXCACHE_PASSWORD: FAKE_USER.password };
    const list = (args: readonly string[]) =>
      execa(node, [BIN, 'list', '--from', `${registry.host}/a/b`, ...args], { env, extendEnv: false, reject: false });
    // Who may look is told that there is no cache yet.
    expect((await list(['--username', FAKE_USER.username])).stderr).toContain('no cache');
    expect((await list(['--username', 'stranger'])).stderr).not.toContain('no cache');
  });
});
