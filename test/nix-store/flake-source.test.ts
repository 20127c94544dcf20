import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { resolveFlake, withoutSecrets } from '../../src/nix-store/flake-source.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { tempDir } from '../support/temp-dir.ts';

it.each([
  ['https://user:PW@host/f.tar.gz?token=T', 'https://host/f.tar.gz'],
  ['https://TOKEN@host/f.tar.gz', 'https://host/f.tar.gz'],
  ['git+https://me:P%2FW@host:8443/r?dir=a&ref=main&private_token=x', 'git+https://host:8443/r?dir=a&ref=main'],
  ['git+ssh://git:PW@host/r', 'git+ssh://git@host/r'],
  ['git+https://a@b@host/r', 'git+https://host/r'],
  ['https://host/f.tar.gz#fragment', 'https://host/f.tar.gz'],
])('%s is stored as %s', (url, stored) => {
  expect(withoutSecrets(url)).toBe(stored);
});

it.each([
  'github:o/r',
  'github:o/r/branch?dir=sub&host=github.example.org',
  'git+ssh://git@github.com/o/r?ref=main',
  'git+file:///home/me/a@b?submodules=1&shallow=1',
  'path:/x/y?lastModified=1&narHash=sha256-AAAA%2F+%3D',
  'https://host/@scope/f.tar.gz',
  'flake:nixpkgs',
  '/home/me/project',
])('%s holds none', (url) => {
  expect(withoutSecrets(url)).toBe(url);
});

describe('what Nix before 2.20 leaves out of the URL', () => {
  /** A Nix whose `flake metadata` answers with `metadata`. */
  async function nixSaying(metadata: unknown): Promise<NixCommand> {
    const bin = await tempDir();
    await writeFile(join(bin, 'nix'), `#!/bin/sh\ncat <<'END'\n${JSON.stringify(metadata)}\nEND\n`);
    await chmod(join(bin, 'nix'), 0o755);
    return new NixCommand({ env: { PATH: `${bin}:/bin`, HOME: bin } });
  }

  it.each([
    ['git+file:///x', { submodules: true }, 'git+file:///x?submodules=1'],
    [
      'git+file:///x?ref=main&rev=1',
      { submodules: true, shallow: true },
      'git+file:///x?ref=main&rev=1&submodules=1&shallow=1',
    ],
    ['git+file:///x?submodules=1', { submodules: true }, 'git+file:///x?submodules=1'],
    ['git+file:///x', { submodules: false }, 'git+file:///x'],
    ['path:/x', {}, 'path:/x'],
  ])('is added to %s with %o', async (url, locked, pinned) => {
    const source = await resolveFlake(await nixSaying({ url, resolvedUrl: url, locked, path: '/x' }), '.', {});
    expect(source).toMatchObject({ url: pinned, lockedUrl: pinned });
  });
});

it.each([
  ["error: getting status of '/nix/store/x-source/flake.nix': No such file or directory", 'git add flake.nix'],
  ["error: executing 'git': No such file or directory", 'install git'],
  [
    "fatal: 'x' does not appear to be a git repository\nerror: program 'git' failed with exit code 128",
    "(git: fatal: 'x' does not appear to be a git repository)",
  ],
])('of what Nix says (%s), what to do is said', async (stderr, told) => {
  const bin = await tempDir();
  await writeFile(join(bin, 'nix'), `#!/bin/sh\ncat >&2 <<'END'\n${stderr}\nEND\nexit 1\n`);
  await chmod(join(bin, 'nix'), 0o755);
  const command = new NixCommand({ env: { PATH: `${bin}:/bin`, HOME: bin } });
  await expect(resolveFlake(command, '.', {})).rejects.toThrow(told);
});
