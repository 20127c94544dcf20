/** Files and directories that the user, or somebody else, named and that are not what they should be: an error, no waiting. */
import { mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { readDockerConfig } from '../../src/oci/credentials/docker-config.ts';
import { readNamed } from '../../src/regular-file.ts';
import { ODD_KINDS, placeOddFile } from '../support/odd-files.ts';
import { tempDir } from '../support/temp-dir.ts';
import { runCli } from './run-cli.ts';

const BIN = join(import.meta.dirname, '../../bin/nixcache.js');
const KINDS = ODD_KINDS.filter((kind) => kind !== 'dangling link');

/** A file of 5 GiB that takes no room. */
async function placeHugeFile(path: string): Promise<void> {
  await using handle = await open(path, 'w');
  await handle.truncate(5 * 1024 ** 3);
}

describe.each([...KINDS, 'huge file'] as const)('a %s', (kind) => {
  const place = async (path: string): Promise<void> =>
    kind === 'huge file' ? await placeHugeFile(path) : await placeOddFile(path, kind);

  const itUnlessPiped = kind === 'pipe' ? () => {} : it;

  itUnlessPiped('as config file is a usage error that names it', async () => {
    const file = join(await tempDir(), 'nixcache.toml');
    await place(file);
    const { exitCode, stderr } = await runCli(['list', '--config', file]);
    expect(stderr).toContain(`read configuration ${file}`);
    expect(stderr).not.toContain('bug');
    expect(exitCode).toBe(2);
  });

  itUnlessPiped('as key file is an error that names it', async () => {
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

describe('a pipe that the user names', () => {
  const { secret, public: publicKey } = generateKey('piped-1');
  const bash = async (script: string, ...args: string[]) =>
    execa('bash', ['-c', script, 'bash', process.execPath, BIN, ...args], { reject: false, env: { SECRET: secret } });

  it.each([
    ['key public <(printf %s "$SECRET")'],
    ['key public <(sleep 0.3; printf %s "$SECRET")'],
    ['key public /dev/stdin < <(printf %s "$SECRET")'],
  ])('is read to its end: %s', async (command) => {
    const { stdout, stderr } = await bash(`"$1" "$2" ${command}`);
    expect([stdout, stderr]).toEqual([publicKey, '']);
  });

  it('is read as configuration', async () => {
    const { stdout, exitCode } = await bash(
      `cd / && "$1" "$2" list --json --config <(echo 'cache = "oci:/nonexistent-x"')`,
    );
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { message: expect.stringContaining('/nonexistent-x') } });
  });

  it('is no key when it is longer than one, or its command gave nothing', async () => {
    for (const source of ['<(cat /dev/zero)', '<(sleep 0.2; exit 1)']) {
      const { exitCode, stderr } = await bash(`"$1" "$2" key public ${source}`);
      expect(stderr).toMatch(/read signing key \/dev\/fd\//);
      expect(exitCode).toBe(2);
    }
  });

  it('and to which nobody writes is an error', async () => {
    const file = join(await tempDir(), 'pipe');
    await placeOddFile(file, 'pipe');
    await expect(readNamed(file, { maxBytes: 100, writerWaitMs: 100 })).rejects.toThrow(
      `${file} is a pipe, and nobody wrote to it for 0.1 s`,
    );
  });

  it('is given up when the user has enough of waiting', async () => {
    const file = join(await tempDir(), 'pipe');
    await placeOddFile(file, 'pipe');
    await using writer = await open(file, 'r+'); // holds it open and writes nothing
    const stop = new AbortController();
    const reading = readNamed(file, { maxBytes: 100, writerWaitMs: 0, signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
    expect((await writer.stat()).isFIFO()).toBe(true);
  });
});

describe('what is allowed', () => {
  it('is /dev/null, for no configuration', async () => {
    const home = await tempDir();
    await mkdir(join(home, 'nixcache'));
    await symlink('/dev/null', join(home, 'nixcache', 'config.toml'));
    const env = { HOME: home, XDG_CONFIG_HOME: home };
    for (const args of [[], ['--config', '/dev/null']]) {
      const { exitCode, stderr } = await runCli(['list', '--cache', `oci:${join(home, 'none')}`, ...args], { env });
      expect(stderr).not.toContain('device');
      expect(exitCode).toBe(1); // there is no such cache
    }
  });

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

it('a directory that was removed under us is told of', async () => {
  const gone = join(await tempDir(), 'gone');
  const { exitCode, stderr } = await execa(
    'sh',
    ['-c', 'mkdir "$1" && cd "$1" && rmdir "$1" && exec "$2" "$3" list', 'sh', gone, process.execPath, BIN],
    { reject: false },
  );
  expect(stderr).toBe('nixcache: the directory that this was started in is gone; go to another one (cd ~)');
  expect(exitCode).toBe(2);
});

it('a directory for keys that cannot be made is named', async () => {
  const { exitCode, stderr } = await runCli(['key', 'generate', 'k-1', '--out-dir', '/proc/nixcache/keys']);
  expect(stderr).toContain('make /proc/nixcache/keys');
  expect(exitCode).not.toBe(0);
});
