import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../../src/nix/signature.ts';
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { baseNameFor, CacheBuilder } from '../../support/cache-builder.ts';
import { FakeRegistry } from '../../support/fake-registry.ts';
import { FAKE_USER } from '../../support/fake-registry-auth.ts';
import { PROFILES } from '../../support/fake-registry-faults.ts';
import { type CliResult, runCli } from '../run-cli.ts';

const ago = (days: number): Date => new Date(Date.now() - days * 24 * 60 * 60 * 1000);

let home = '';
let cache = '';

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'nixcache-test-'));
  cache = `oci:${join(home, 'cache')}`;
  const builder = new CacheBuilder(await LayoutStore.open(join(home, 'cache'), { create: true }));
  await builder.publish({
    at: ago(90),
    paths: ['libc', { name: 'hello-1', references: ['libc'] }],
    roots: ['hello-1'],
  });
  await builder.publish({
    at: ago(5),
    paths: [{ name: 'hello-2', references: ['libc'] }, 'hello-2-doc'],
    roots: ['hello-2'],
  });
});

afterAll(() => rm(home, { recursive: true, force: true }));

const nixcache = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CliResult> =>
  runCli(args, { cwd: home, env: { HOME: home, NIXCACHE_CACHE: cache, NIXCACHE_UPSTREAM: '', ...env } });

describe('list', () => {
  it('shows a summary and the roots', async () => {
    const { stdout, exitCode } = await nixcache(['list']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^oci:.*\n {2}entries +4 paths, NARs .*\n/);
    expect(stdout).toMatch(/\nROOT +SYSTEM +PUBLISHED +PATHS +CLOSURE +STORE PATH\nhello-1 .*\nhello-2 .*-hello-2$/);
  });

  it('prints one document as JSON, and entries one a line', async () => {
    const { stdout } = await nixcache(['list', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ cache, entries: 4, storeDir: '/nix/store', unsigned: 4, signedBy: [], segments: 2 },
      roots: [{ name: 'hello-1' }, { name: 'hello-2', records: 1, closure: { paths: 2, missing: 0 } }],
    });
    const lines = (await nixcache(['list', '--entries', 'hello*', '--json'])).stdout.split('\n');
    expect(lines.map((line) => JSON.parse(line).path.slice(44))).toEqual(['hello-1', 'hello-2', 'hello-2-doc']);
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      path: `/nix/store/${baseNameFor('hello-1')}`,
      ...{ narBytes: expect.any(Number), fileBytes: expect.any(Number), asserted: expect.any(String), signedBy: [] },
    });
  });

  it('takes one of its three views at a time', async () => {
    expect(await nixcache(['list', '--roots', '--entries'])).toMatchObject({ exitCode: 2 });
  });
});

describe('info', () => {
  it('shows all about a path', async () => {
    const { stdout } = await nixcache(['info', 'libc']);
    expect(stdout).toMatch(new RegExp(`^/nix/store/${baseNameFor('libc')}\n`));
    expect(stdout).toMatch(/\n {2}gc +keeps it, since \S+-hello-2 is hello-2 of the newest publish, /);
  });

  it('reckons with the retention that is given', async () => {
    const { stdout } = await nixcache(['info', 'hello-2-doc', '--retain', '1d', '--json']);
    expect(JSON.parse(stdout).gc).toEqual({ verdict: 'dropped' });
    const kept = await nixcache(['info', 'hello-2-doc', '--retain', '1w', '--json']);
    expect(JSON.parse(kept.stdout).gc).toMatchObject({ verdict: 'kept', reason: { kind: 'pushed' } });
  });

  it('lists what may be meant, and exits with 2', async () => {
    const { stdout, stderr, exitCode } = await nixcache(['info', 'hel', '--json']);
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout).ambiguous).toEqual(['hello-1', 'hello-2', 'hello-2-doc'].map(baseNameFor));
    expect(stderr).toContain(baseNameFor('hello-2-doc'));
  });

  it('suggests names, and exits with 1', async () => {
    const { stderr, exitCode } = await nixcache(['info', 'helo']);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('did you mean hello-1?');
  });
});

describe('pin', () => {
  it('pins what a link leads to, moves the pin, shows its history and removes it', async () => {
    await symlink(`/nix/store/${baseNameFor('hello-1')}`, join(home, 'result'));
    expect(await nixcache(['pin', 'v1', './result'])).toMatchObject({ exitCode: 0, stdout: '' });
    expect((await nixcache(['pin', 'v1', 'hello-2', '--json'])).stdout).toContain(
      `"before":"/nix/store/${baseNameFor('hello-1')}"`,
    );
    expect((await nixcache(['pin', '--list'])).stdout).toMatch(/^PIN +SINCE +STORE PATH\nv1 .*-hello-2$/);
    expect((await nixcache(['pin', '--history', 'v1'])).stdout.split('\n')).toHaveLength(3);
    expect((await nixcache(['info', 'v1'])).stdout).toMatch(/^v1\n {2}\S+-hello-2\n {4}2 paths/);
    expect(await nixcache(['pin', '--remove', 'v1'])).toMatchObject({ exitCode: 0 });
    expect((await nixcache(['pin', '--list', '--json'])).stdout).toBe(JSON.stringify({ cache, pins: [] }));
    expect(await nixcache(['pin', '--remove', 'v1'])).toMatchObject({ exitCode: 1 });
  });

  it('says how to get into the cache what is not there', async () => {
    const path = `/nix/store/${baseNameFor('other')}`;
    const { exitCode, stderr } = await nixcache(['pin', 'v2', path]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`nixcache push ${path}`);
  });

  it.each([
    [['pin'], 'give a name and a store path'],
    [['pin', '--list', 'v1'], 'one argument too many'],
    [['pin', '/nix', 'hello-1'], 'cannot name a pin'],
    [['pin', '--list', '--remove', 'x'], 'cannot be used with'],
  ])('refuses %j', async (args, message) => {
    const { exitCode, stderr } = await nixcache(args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });
});

describe('doctor', () => {
  it('exits with 0 where nothing is wrong but what is only said', async () => {
    const { exitCode, stdout, stderr } = await nixcache(['doctor', '--json']);
    const { problems, findings } = JSON.parse(stdout);
    expect({ exitCode, problems }).toEqual({ exitCode: 0, problems: 0 });
    expect(findings.map(({ check }: { check: string }) => check)).toEqual([
      ...['nix', 'features', 'cache', 'pull', 'push', 'index', 'age', 'key', 'signatures'],
      ...['upstream', 'proxy', 'trust', 'disk'],
    ]);
    expect(stderr).toContain('0 problems');
  });

  it('exits with 4, soon and with a line for each part, where nothing can be reached', async () => {
    const startedMs = performance.now();
    const { exitCode, stdout } = await nixcache(['doctor'], {
      ...{ NIXCACHE_CACHE: '127.0.0.1:1/team/cache', NIXCACHE_UPSTREAM: 'http://127.0.0.1:1', NIXCACHE_PORT: '1' },
      PATH: `${join(process.execPath, '..')}`,
    });
    expect(exitCode).toBe(4);
    for (const check of ['registry', 'upstream', 'proxy']) expect(stdout).toMatch(new RegExp(`PROBLEM ${check} `));
    expect(stdout).toMatch(/skipped clock .*so are credentials, pull, public, push, index, age/);
    expect(performance.now() - startedMs).toBeLessThan(15_000);
  });

  it('makes a finding of settings that are wrong', async () => {
    const { exitCode, stdout } = await nixcache(['doctor'], {
      NIXCACHE_CACHE: 'https://ghcr.io/x',
      NIXCACHE_UPSTREAM: 'x',
    });
    expect(exitCode).toBe(4);
    expect(stdout).toMatch(/PROBLEM cache +NIXCACHE_CACHE: /);
    expect(stdout).toMatch(/PROBLEM upstream /);
  });

  it('shows no secret, whatever it is told', async () => {
    const registry = await FakeRegistry.start(PROFILES.ghcr);
    onTestFinished(() => registry.close());
    const key = generateKey('secret-test-1');
    const secrets = [FAKE_USER.password, key.secret.split(':')[1] ?? '', 'upstream-s3cret'];
    const env = {
      NIXCACHE_CACHE: `${registry.host}/team/cache`,
      NIXCACHE_USERNAME: FAKE_USER.username,
      NIXCACHE_PASSWORD: FAKE_USER.password,
      NIXCACHE_SIGNING_KEY: key.secret,
      NIXCACHE_UPSTREAM: 'http://user:upstream-s3cret@127.0.0.1:1',
    };
    const args = [
      ['doctor', '--verbose'],
      ['doctor', '--json', '--verbose'],
    ];
    for (const { stdout, stderr, exitCode } of await Promise.all(args.map((each) => nixcache(each, env)))) {
      expect(exitCode).toBe(4); // the upstream
      for (const secret of secrets) expect(stdout + stderr).not.toContain(secret);
    }
  });

  it('wraps its lines on a narrow terminal', async () => {
    const { formatFinding } = await import('../../../src/cli/commands/doctor/run.ts');
    const text = formatFinding(
      { check: 'trust', verdict: 'warning', message: 'a '.repeat(40).trim(), fix: 'do https://example.org/this' },
      30,
    );
    expect(text.split('\n')[0]).toBe('warning trust');
    expect(text.split('\n').every((line) => line.length <= 30)).toBe(true);
  });
});

describe('help', () => {
  it.each(['list', 'info', 'pin', 'doctor'])('of %s has examples', async (command) => {
    const { stdout } = await nixcache([command, '--help']);
    expect(stdout).toMatch(new RegExp(`\\nExamples:\\n {2}# .*\\n {2}\\$ .*nixcache ${command}`));
  });
});
