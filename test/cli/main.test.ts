import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { CacheBuilder, hashPartFor, openReader } from '../support/cache-builder.ts';
import { tempDir } from '../support/temp-dir.ts';
import { runCli, startCli } from './run-cli.ts';

const COMMANDS = ['publish', 'push', 'gc', 'pin', 'copy', 'serve', 'list', 'info', 'discover', 'verify', 'doctor'];

describe('--version and --help', () => {
  it('print the version of the package', async () => {
    const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
    const { version } = JSON.parse(text) as { version: string };
    expect(await runCli(['--version'])).toEqual({ exitCode: 0, stdout: `nixcache ${version}`, stderr: '' });
  });

  it('list the commands', async () => {
    const { exitCode, stdout, stderr } = await runCli(['--help']);
    expect([exitCode, stderr]).toEqual([0, '']);
    for (const command of [...COMMANDS, 'key']) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
  });

  it.each([...COMMANDS, 'key generate', 'key public'])(
    'teach %s by examples and have the common options',
    async (command) => {
      const { exitCode, stdout } = await runCli([...command.split(' '), '--help'], { env: { COLUMNS: '70' } });
      expect(exitCode).toBe(0);
      expect(stdout).toContain('Examples:\n  # ');
      for (const option of ['--json', '--quiet', '--verbose', '--config']) expect(stdout).toContain(option);
      const [described = ''] = stdout.split('Examples:');
      expect(Math.max(...described.split('\n').map((line) => line.length))).toBeLessThanOrEqual(70);
      const narrow = await runCli([...command.split(' '), '--help'], { env: { COLUMNS: '60' } });
      const [words = ''] = narrow.stdout.split('Examples:');
      expect(words.split('\n').filter(({ length }) => length > 60)).toEqual([]);
    },
  );

  it.each(['push', 'publish', 'serve', 'list', 'gc'])(
    '%s --help names every variable that says which cache',
    async (command) => {
      const { stdout } = await runCli([command, '--help']);
      for (const name of ['NIXCACHE_CACHE', 'NIXCACHE_REPO', 'NIXCACHE_REGISTRY'])
        expect(stdout).toMatch(new RegExp(`${name}\\b`));
    },
  );
});

describe('a wrong command line exits with 2 and suggests a right one', () => {
  it.each<[string, string]>([
    ['--jsn', "nixcache: unknown option '--jsn'\n  did you mean --json?\n  see: nixcache --help"],
    ['publsh', "nixcache: unknown command 'publsh'\n  did you mean publish?\n  see: nixcache --help"],
    ['push --tto oci:x p', "nixcache: unknown option '--tto'\n  did you mean --to?\n  see: nixcache push --help"],
    ['key', 'nixcache: a command is missing'],
    ['', 'nixcache: a command is missing'],
    ['key public', "nixcache: missing required argument 'file'\n  see: nixcache key public --help"],
    ['push', "nixcache: missing required argument 'path'"],
    ['serve --port', "nixcache: option '--port <port>' argument missing"],
    ['serve --port 99999', "nixcache: --port: '99999' is not a port: give a whole number from 0 to 65535"],
    ['serve --cache ./x', "nixcache: --cache: './x' looks like a directory; write oci:./x"],
    ['serve --from oci:/a --cache oci:/b', 'nixcache: --cache oci:/b and --from oci:/a name two caches'],
    ['publish --compression gzip x', "nixcache: --compression: 'gzip' is not a compression"],
    ['gc --retain 30', "nixcache: --retain: '30' is not a duration: write it like 30d"],
    ['publish --require-signing x', 'nixcache: signing is required, and there is no key'],
    ['publish', 'nixcache: there is no flake.nix in / nor in its config/'],
    [
      'publish .#hello',
      "nixcache: '.#hello' is not a flake: give a directory or a URL without '#', and pick outputs of . with --only 'packages.*.hello'",
    ],
    ['discover .#nixosConfigurations.web', "nixcache: '.#nixosConfigurations.web' is not a flake: give a directory"],
    ['discover', 'nixcache: there is no flake.nix in / nor in its config/'],
    ['copy oci:/a', "nixcache: missing required argument 'dst'\n  see: nixcache copy --help"],
    [
      'copy https://cache.nixos.org oci:/b',
      'nixcache: https://cache.nixos.org cannot be listed: name store paths after oci:/b',
    ],
    ['version', "nixcache: unknown command 'version'\n  did you mean --version?"],
    ['key gen x', "nixcache: unknown command 'gen'\n  did you mean generate?"],
    ['info %20', 'nixcache: info: <path|name|hash> is empty'],
    ['help key gen', "nixcache: unknown command 'gen'\n  did you mean generate?"],
    [
      'publish --upstream http://a --no-upstream',
      "nixcache: option '--upstream <url>' cannot be used with option '--no-upstream'",
    ],
    [
      'verify --no-upstream --upstream=http://a',
      "nixcache: option '--upstream <url>' cannot be used with option '--no-upstream'",
    ],
    ['push --upstream foo x', "nixcache: --upstream: 'foo' is not a URL"],
    ['info', "nixcache: missing required argument 'path|name|hash'"],
    ['info --keep-last x hello', "nixcache: --keep-last: 'x' is not a number of publishes"],
    ['verify --key-file x', 'nixcache: --key-file is of use only with --repair'],
    ['verify --dry-run', 'nixcache: --dry-run is of use only with --repair'],
    ['verify --trusted-public-key x', 'nixcache: --trusted-public-key: a public key must read'],
    ['doctor --port x', "nixcache: --port: 'x' is not a port"],
    ['list --roots --pins', "nixcache: option '--roots' cannot be used with option '--pins'"],
    ['pin', 'nixcache: pin: give a name and a store path'],
    ['serve --disk-cache much', "nixcache: --disk-cache: 'much' is not a size"],
    ['serve --read-token-file ./x', 'nixcache: read tokens from '],
    ['serve --cache oci:x --socket-mode 0600', 'nixcache: --socket-mode would have no effect'],
  ])('nixcache %s', async (line, stderr) => {
    const result = await runCli(
      line.split(' ').flatMap((argument) => (argument === '' ? [] : argument.replace('%20', ' '))),
    );
    expect(result).toMatchObject({ exitCode: 2, stdout: '' });
    expect(result.stderr.slice(0, stderr.length)).toBe(stderr);
    expect(result.stderr).not.toMatch(/^ +at /m);
  });

  it.each(['--read-token-file', '--upload-token-file'])('names %s, whose file cannot be read', async (flag) => {
    expect((await runCli(['serve', flag, './x'])).stderr).toContain(`x (${flag}): `);
  });

  it.each([
    ['key', 'generate', 'q-1', '--out-dir', ''],
    ['publish', '--file', ''],
    ['publish', '--key-file='],
    ['publish', ''],
    ['publish', '--only', 'a', '--only', ''],
    ['pin', 'a', ''],
    ['pin', '--remove', ''],
    ['pin', '--history', ' '],
    ['copy', 'oci:/a', 'oci:/b', '--root', ''],
    ['copy', 'oci:/a', 'oci:/b', ''],
    ['list', ''],
    ['--config', '', 'list'],
  ])('nixcache %s %s %s %s %s says what is empty, and touches nothing', async (...args) => {
    const cwd = await tempDir();
    const { exitCode, stdout, stderr } = await runCli(
      args.filter((each) => typeof each === 'string'),
      { cwd },
    );
    expect([exitCode, stdout, await readdir(cwd)]).toEqual([2, '', []]);
    expect(stderr).toMatch(/ is empty; is the variable set that it comes from\?$/);
  });

  it('also when the mistake is in the config file', async () => {
    const cwd = await tempDir();
    await writeFile(join(cwd, 'nixcache.toml'), '[serve]\nprot = 1\n');
    const { exitCode, stderr } = await runCli(['serve'], { cwd });
    expect(exitCode).toBe(2);
    expect(stderr).toBe(
      `nixcache: read configuration ${cwd}/nixcache.toml: serve.prot is not a setting, did you mean 'port'?`,
    );
  });
});

describe('help', () => {
  it.each(['publish', 'serve', 'gc', 'key generate', ''])(
    'of %s fits a narrow terminal, but for what is copied',
    async (command) => {
      const args = [...command.split(' ').filter((word) => word !== ''), '--help'];
      const { stdout } = await runCli(args, { env: { COLUMNS: '40' } });
      const lines = stdout.split('\n').filter((line) => !/^(?:Usage:| {2}[$-]|Run )/.test(line));
      expect(lines.filter((line) => line.length > 40 && !/^[ #]*\S+$/.test(line))).toEqual([]);
      expect(lines.length).toBeGreaterThan(10);
    },
  );

  it('of a command below another is printed by help too', async () => {
    const [asked, flagged] = await Promise.all([
      runCli(['help', 'key', 'generate']),
      runCli(['key', 'generate', '--help']),
    ]);
    expect(asked).toEqual(flagged);
    expect(asked.stdout).toMatch(/^Usage: nixcache key generate /);
  });
});

describe('options', () => {
  it('that are common may stand before the command', async () => {
    const cwd = await tempDir();
    const { exitCode, stdout } = await runCli(['--json', '-q', 'key', 'generate', 'a-1', '--out-dir', '.'], { cwd });
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'a-1' });
  });
});

describe('serve', () => {
  const serve = (cwd: string, ...args: readonly string[]) =>
    startCli(['serve', '--port', '0', '--no-upstream', '--from', 'oci:cache', ...args], {
      cwd,
      env: { HOME: cwd, GITHUB_TOKEN: 'ghp_hunter22' },
    });

  it('prints its URL first, answers there, and ends well on SIGTERM', async () => {
    await using server = await serve(await tempDir());
    expect(server.firstLine).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const info = await fetch(`${server.firstLine}/nix-cache-info`);
    expect(await info.text()).toContain('StoreDir: /nix/store');
    server.signal('SIGTERM');
    const { exitCode, stdout, stderr } = await server.result;
    expect([exitCode, stdout]).toEqual([0, server.firstLine]);
    expect(stderr).toContain('SIGTERM: stopping');
    expect(stderr).not.toContain('hunter22');
  });

  it('prints one document with --json', async () => {
    await using server = await serve(await tempDir(), '--json');
    expect(JSON.parse(server.firstLine)).toEqual({
      url: expect.stringMatching(/^http:/),
      cache: expect.stringMatching(/^oci:\/.*\/cache$/),
    });
  });

  it('ends at once on the second signal', async () => {
    const cwd = await tempDir();
    const store = await LayoutStore.open(join(cwd, 'cache'), { create: true });
    // More than waits in the buffers of a connection.
    await new CacheBuilder(store).publish({
      at: new Date(),
      paths: [{ name: 'large', bytes: 20_000_000 }],
      packed: false,
    });
    const { url = '' } = (await openReader(store)).findEntry(hashPartFor('large'))?.narInfo ?? {};
    await using server = await serve(cwd);
    /** An answer that has begun, and goes on when it is read: it holds the first signal up. */
    const begin = async () => {
      const socket = connect(Number(new URL(server.firstLine).port), '127.0.0.1');
      onTestFinished(() => void socket.destroy());
      socket.on('error', () => undefined).write(`GET /${url} HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n`);
      await once(socket, 'readable');
      return socket;
    };
    const [read] = [await begin(), await begin()];
    server.signal('SIGINT');
    server.signal('SIGTERM'); // the same wish, passed on by a wrapper: two of one kind may come as one
    await server.said(': stopping');
    expect((await read.toArray()).reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(20_000_000);
    let exitCode: number | undefined;
    void server.result.then((result) => {
      exitCode = result.exitCode;
    });
    // What comes soon is the same wish still; and one that comes while it ends would end it before it has said how.
    await vi.waitFor(
      () => {
        server.signal('SIGINT');
        if (exitCode === undefined) throw new Error('it goes on');
      },
      { timeout: 20_000, interval: 2000 },
    );
    expect(exitCode).toBe(130);
  });
});

it('a reader of stdout that leaves is no error', async () => {
  const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
  const script = `"$1" "$2" publish --help | true; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = await promisify(execFile)('bash', ['-c', script, 'bash', process.execPath, main]);
  expect([stdout, stderr]).toEqual(['0\n', '']);
});

it.each([
  [['list', '--password=hunter22']],
  [['list', '--json', '--token=hunter22\nhunter22']],
  [['discover', 'me:hunter22@host/f']],
  [['list', '--cache', 'http:/me:hunter22@host/f']],
  [['status', '--upstream', 'me:hunter22@host/f']],
])('no password is shown in what is said of %j', async (args) => {
  const { exitCode, stdout, stderr } = await runCli(args, { env: { HOME: await tempDir() } });
  expect(exitCode).not.toBe(0);
  expect(stdout + stderr).not.toContain('hunter22');
});
