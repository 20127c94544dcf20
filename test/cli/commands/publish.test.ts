import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../../src/nix/signature.ts';
import { createNixEnv, type NixEnv } from '../../support/nix-env.ts';
import { RealRegistry } from '../../support/real-registry.ts';
import { type CliResult, runCli, startCli } from '../run-cli.ts';

const FLAKE = `{
  outputs = { self }: let
    make = name: script: derivation { inherit name; system = builtins.currentSystem or "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ]; };
    outputs = {
      good = make "good-1" "echo good > $out";
      bad = make "bad-1" "echo oh no; exit 1";
      broken = throw "broken on purpose";
    };
  in { packages = { x86_64-linux = outputs; aarch64-linux = outputs; }; };
}`;

const key = generateKey('test-1');
let nix: NixEnv;
let flake = '';

beforeAll(async () => {
  nix = await createNixEnv();
  flake = join(nix.dir, 'flake');
  await mkdir(flake);
  await writeFile(join(flake, 'flake.nix'), FLAKE);
});
afterAll(() => nix.cleanup());

const nixcache = (
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  input?: string,
): Promise<CliResult> =>
  runCli(args, { cwd: flake, env: { ...nix.env, ...env }, ...(input === undefined ? {} : { input }) });

describe('discover', () => {
  it('lists outputs on stdout and failures on stderr', async () => {
    const { exitCode, stdout, stderr } = await nixcache(['discover']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^OUTPUT +SYSTEM +STORE PATH\npackages\.\S+\.bad .*\npackages\.\S+\.good .*good-1$/);
    expect(stderr).toMatch(/packages\.\S+\.broken does not evaluate: broken on purpose/);
  });

  it('prints one JSON document', async () => {
    const { stdout } = await nixcache(['discover', '--json', '--only', 'packages.*.good', '--quiet']);
    expect(JSON.parse(stdout)).toMatchObject({
      outputs: [{ kind: 'packages', name: 'good-1', outputs: { out: expect.stringContaining('/nix/store/') } }],
      failures: [],
    });
  });

  it('prints a matrix of all systems, for GitHub too', async () => {
    const file = join(nix.dir, 'discover-output');
    const { stdout } = await nixcache(['discover', '--matrix'], { GITHUB_OUTPUT: file });
    expect(JSON.parse(stdout)).toMatchObject({
      include: [
        { system: 'aarch64-linux', runner: 'ubuntu-24.04-arm' },
        { system: 'x86_64-linux', runner: 'ubuntu-latest' },
      ],
    });
    expect(await readFile(file, 'utf8')).toContain(`\n${stdout}\n`);
  });

  it('of what is no flake is a usage error', async () => {
    const { exitCode, stdout } = await nixcache(['discover', join(nix.dir, 'none')]);
    expect([exitCode, stdout]).toEqual([2, '']);
  });
});

describe('publish, then serve', () => {
  const cache = (): string => `oci:${join(nix.dir, 'cache')}`;
  const summary = (): string => join(nix.dir, 'summary');
  const github = (): Record<string, string> => ({
    GITHUB_ACTIONS: 'true',
    GITHUB_REPOSITORY: 'owner/repo',
    GITHUB_STEP_SUMMARY: summary(),
    GITHUB_OUTPUT: join(nix.dir, 'output'),
    NIX_SIGNING_KEY: key.secret,
    GITHUB_TOKEN: 'ghp_hunter22',
  });

  it('would build in a dry run, and makes nothing', async () => {
    const { exitCode, stdout } = await nixcache(['publish', '--to', cache(), '--no-upstream', '--dry-run', '--json']);
    expect(exitCode).toBe(3); // the broken output stays broken
    expect(JSON.parse(stdout)).toMatchObject({
      dryRun: true,
      outputs: [{ status: 'to-build' }, { status: 'to-build' }],
    });
    await expect(readFile(join(nix.dir, 'cache/oci-layout'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('exits with 3 when some outputs fail, and tells GitHub', async () => {
    const { exitCode, stdout, stderr } = await nixcache(
      ['publish', '--to', cache(), '--no-upstream', '--json'],
      github(),
    );
    expect(exitCode).toBe(3);
    const result = JSON.parse(stdout) as { pushed: string[]; outputs: { status: string }[] };
    expect(result.outputs.map(({ status }) => status)).toEqual(['failed', 'built']);
    expect(result.pushed).toEqual([expect.stringMatching(/^\/nix\/store\/.*-good-1$/)]);
    expect(stderr).toContain('::group::pushing\n');
    expect(stderr).toMatch(/^::warning title=nixcache::packages\.\S+\.bad failed to build: /m);
    expect(await readFile(summary(), 'utf8')).toContain(`nixcache serve --from ${cache()}`);
    expect(await readFile(join(nix.dir, 'output'), 'utf8')).toMatch(/^pushed<<(\S+)\n1\n\1$/m);
    for (const secret of [key.secret.slice(7), 'hunter22']) expect(stdout + stderr).not.toContain(secret);
  });

  it('exits with 0 when what was asked for is there already, and needs no terminal', async () => {
    const { exitCode, stdout, stderr } = await nixcache(
      ['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good'],
      { NIX_SIGNING_KEY: key.secret },
    );
    expect([exitCode, stdout]).toEqual([0, '']);
    expect(stderr).toContain('outputs: 1 in the cache already');
    expect(stderr).not.toContain('\u001b');
  });

  it('warns loudly when it signs nothing, even when quiet', async () => {
    const { stderr } = await nixcache(['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good', '-q']);
    expect(stderr).toMatch(/^warning: there is no signing key: /);
  });

  it('gives no program that it runs a secret of ours', async () => {
    const bin = join(nix.dir, 'bin');
    await mkdir(bin);
    const script = `#!/bin/sh\nenv >> ${bin}/seen\nPATH=\${PATH#*:}\nexec nix "$@"\n`;
    await writeFile(join(bin, 'nix'), script, { mode: 0o755 });
    const PATH = `${bin}:${nix.env['PATH']}`;
    const secrets = { NIXCACHE_SIGNING_KEY: key.secret, NIXCACHE_PASSWORD: 'hunter22', PATH };
    expect(await nixcache(['discover', '--only', 'packages.*.good'], { ...github(), ...secrets })).toMatchObject({
      exitCode: 0,
    });
    const seen = await readFile(join(bin, 'seen'), 'utf8');
    expect(seen).toContain('GITHUB_ACTIONS=true');
    for (const secret of [key.secret.slice(7), 'NIXCACHE_PASSWORD']) expect(seen).not.toContain(secret);
  });

  it('stops cleanly on Ctrl-C', async () => {
    const slow = join(nix.dir, 'slow');
    await mkdir(slow);
    await writeFile(
      join(slow, 'flake.nix'),
      FLAKE.replace('echo good', 'sleep 60; echo good').replace('good-1', 'slow-1'),
    );
    const args = ['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good'];
    await using running = await startCli(
      args,
      { cwd: slow, env: nix.env },
      { stream: 'stderr', text: 'building slow-1' },
    );
    running.signal('SIGINT');
    const { exitCode, stdout, stderr } = await running.result;
    expect([exitCode, stdout]).toEqual([130, '']);
    expect(stderr).toMatch(/nixcache: interrupted; the cache is whole$/);
  });

  it('serves what was published', async () => {
    await using server = await startCli(['serve', '--from', cache(), '--port', '0', '--no-upstream'], { env: nix.env });
    const { stdout } = await nixcache(['discover', '--json', '--only', 'packages.*.good']);
    const [path = ''] = /\/nix\/store\/[^"]*good-1(?=")/.exec(stdout) ?? [];
    const narInfo = await fetch(`${server.firstLine}/${path.slice(11, 43)}.narinfo`);
    expect(await narInfo.text()).toMatch(/^Sig: test-1:/m);
    expect(await (await fetch(`${server.firstLine}/public-key`)).text()).toContain(key.public);
  });
});

describe('push', () => {
  const keyFile = async (): Promise<string> => {
    const file = join(nix.dir, 'key');
    await writeFile(file, key.secret);
    return file;
  };
  const cache = (): string => `oci:${join(nix.dir, 'pushed')}`;

  it('takes paths, links to them and lists of them', async () => {
    const file = join(nix.dir, 'file');
    await writeFile(file, 'pushed');
    const { stdout: path } = await execa('nix-store', ['--add', file], { env: nix.env, extendEnv: false });
    await symlink(path, join(flake, 'result'));
    await symlink('result', join(flake, 'link'));
    const args = ['--to', cache(), '--no-upstream', '--json'];
    const results = [
      await nixcache(['push', './link', ...args, '--name', 'mine']),
      await nixcache(['push', `${path}/inside`, ...args]),
      await nixcache(['push', '-', ...args, '--with-build-deps'], {}, `${path}\n\n ${path}\n`),
    ];
    expect(results.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
    const [first, ...others] = results.map(({ stdout }) => JSON.parse(stdout) as { pushed: string[]; cached: object });
    expect(first?.pushed).toEqual([path]);
    for (const other of others) expect(other).toMatchObject({ pushed: [], cached: { paths: [path] } });
  });

  it('reaches a registry, and serve reads it from there', async () => {
    const registry = await RealRegistry.start();
    onTestFinished(() => registry.stop());
    const reference = `${registry.host}/Team/cache`;
    const pushed = await nixcache([
      'push',
      './link',
      '--to',
      reference,
      '--no-upstream',
      '--key-file',
      await keyFile(),
    ]);
    expect(pushed).toMatchObject({ exitCode: 0, stdout: '' });
    expect(pushed.stderr).toContain(`published 1 path to ${registry.host}/team/cache in `);
    await using server = await startCli(['serve', '--from', reference, '--port', '0', '--no-upstream'], {
      env: nix.env,
    });
    const status = await fetch(`${server.firstLine}/public-key`);
    expect(await status.text()).toContain(key.public);
  });

  it('prints what it would push', async () => {
    const { exitCode, stdout } = await nixcache([
      'push',
      './link',
      '--to',
      `${cache()}-2`,
      '--no-upstream',
      '--dry-run',
    ]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^ +PATHS +BYTES\nwould be pushed +1 +120 B\n(?:.*\n)*\/nix\/store\/\S+-file +120 B$/);
  });

  it('names what is no store path, and wants one thing of standard input', async () => {
    const none = await nixcache(['push', '-', '--to', cache()], {}, '/nonsense\n');
    expect(none).toMatchObject({ exitCode: 2, stdout: '' });
    expect(none.stderr).toContain('push /nonsense: it is no store path');
    const twice = await nixcache(['push', '-', '/x']);
    expect(twice).toMatchObject({ exitCode: 2 });
    expect(twice.stderr).toContain("'-' stands alone");
    const both = await nixcache(['push', '-', '--username', 'me', '--password-stdin'], {}, 'x\n');
    expect(both.stderr).toContain('set NIXCACHE_PASSWORD instead');
  });
});

describe('gc', () => {
  const cache = (): string => `oci:${join(nix.dir, 'collected')}`;
  const push = async (name: string): Promise<string> => {
    await writeFile(join(nix.dir, name), name);
    const { stdout } = await execa('nix-store', ['--add', join(nix.dir, name)], { env: nix.env, extendEnv: false });
    expect(await nixcache(['push', stdout, '--to', cache(), '--no-upstream'])).toMatchObject({ exitCode: 0 });
    return stdout;
  };

  it('tells what it would drop, then drops it', async () => {
    const old = await push('old');
    await delay(2100); // times are whole seconds
    const kept = await push('new');
    const all = await nixcache(['gc', '--cache', cache(), '--json']);
    expect(JSON.parse(all.stdout)).toMatchObject({ dropped: { entries: 0 }, kept: { entries: 2 } });
    const args = ['gc', '--cache', cache(), '--retain', '1s', '--grace', '5m'];
    const would = await nixcache([...args, '--dry-run']);
    expect(would).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(old) });
    expect(would.stdout).not.toContain(kept);
    expect(would.stderr).toMatch(/^warning: a grace period of 300 s is safe only while nothing else writes/m);
    expect(would.stderr).toMatch(/^would drop 1 path \(.*; kept 1 path /m);
    const did = await nixcache([...args, '--json']);
    expect(JSON.parse(did.stdout)).toMatchObject({ dropped: { entries: 1, paths: [{ path: old }] } });
    expect(did.stderr).toMatch(/wait for the grace period to end until \d{4}-/);
  });
});
