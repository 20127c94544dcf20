/** Files and directories that the user, or somebody else, named and that are not what they should be: an error, no waiting. */
import { mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { readDockerConfig } from '../../src/oci/credentials/docker-config.ts';
import { ODD_KINDS, placeOddFile } from '../support/odd-files.ts';
import { tempDir } from '../support/temp-dir.ts';
import { runCli } from './run-cli.ts';

const KINDS = ODD_KINDS.filter((kind) => kind !== 'dangling link');

/** A file of 5 GiB that takes no room. */
async function placeHugeFile(path: string): Promise<void> {
  await using handle = await open(path, 'w');
  await handle.truncate(5 * 1024 ** 3);
}

describe.each([...KINDS, 'huge file'] as const)('a %s', (kind) => {
  const place = async (path: string): Promise<void> =>
    kind === 'huge file' ? await placeHugeFile(path) : await placeOddFile(path, kind);

  it('as config file is a usage error that names it', async () => {
    const file = join(await tempDir(), 'nixcache.toml');
    await place(file);
    const { exitCode, stderr } = await runCli(['list', '--config', file]);
    expect(stderr).toContain(`read configuration ${file}`);
    expect(stderr).not.toContain('bug');
    expect(exitCode).toBe(2);
  });

  it('as key file is an error that names it', async () => {
    const file = join(await tempDir(), 'key.secret');
    await place(file);
    const { exitCode, stderr } = await runCli(['key', 'public', file]);
    expect(stderr).toContain(`read signing key ${file}`);
    expect(stderr).not.toContain('bug');
    expect(exitCode).toBe(2);
  });

  it('as docker config is an error that names it', async () => {
    const directory = await tempDir();
    const file = join(directory, 'config.json');
    await place(file);
    await expect(readDockerConfig(file)).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringContaining(`read credentials from ${file}`),
    });
  });
});

describe('what is allowed', () => {
  it('is a key file that is a link', async () => {
    const directory = await tempDir();
    const { secret, public: publicKey } = generateKey('test-1');
    await writeFile(join(directory, 'real'), secret, { mode: 0o600 });
    await symlink(join(directory, 'real'), join(directory, 'link'));
    expect((await runCli(['key', 'public', join(directory, 'link')])).stdout).toBe(publicKey);
  });
});

describe.each(['/proc', '/nonexistent/tmp', '/dev/null'])('TMPDIR=%s', (TMPDIR) => {
  it('is named by who needs it, and by nobody else', async () => {
    const directory = await tempDir();
    await mkdir(join(directory, 'flake'));
    await writeFile(join(directory, 'flake', 'flake.nix'), '{ outputs = _: { }; }');
    const env = { TMPDIR, XDG_CACHE_HOME: directory, HOME: directory };
    const { exitCode, stderr } = await runCli(['discover', join(directory, 'flake')], { env });
    expect(stderr).toContain(TMPDIR);
    expect(stderr).not.toContain('bug');
    expect(exitCode).not.toBe(0);
    const cache = `oci:${join(directory, 'cache')}`;
    expect((await runCli(['list', '--cache', cache], { env })).stderr).not.toContain(TMPDIR);
  });
});

it('a directory for keys that cannot be made is named', async () => {
  const { exitCode, stderr } = await runCli(['key', 'generate', 'k-1', '--out-dir', '/proc/nixcache/keys']);
  expect(stderr).toContain('make /proc/nixcache/keys');
  expect(exitCode).not.toBe(0);
});
