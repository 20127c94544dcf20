import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../../../src/nix/signature.ts';
import { startCli } from '../../run-cli.ts';
import { FLAKE, type NixCli, openNixCli } from '../nix-cli.ts';

const key = generateKey('test-1');
let cli: NixCli;
beforeAll(async () => {
  cli = await openNixCli();
});
afterAll(() => cli.nix.cleanup());

describe('publish, then serve', () => {
  const cache = (): string => `oci:${join(cli.nix.dir, 'cache')}`;
  const summary = (): string => join(cli.nix.dir, 'summary');
  const github = (): Record<string, string> => ({
    GITHUB_ACTIONS: 'true',
    GITHUB_REPOSITORY: 'owner/repo',
    GITHUB_STEP_SUMMARY: summary(),
    GITHUB_OUTPUT: join(cli.nix.dir, 'output'),
    NIX_SIGNING_KEY: key.secret,
    GITHUB_TOKEN: 'ghp_hunter22',
  });

  it('would build in a dry run, and makes nothing', async () => {
    const { exitCode, stdout } = await cli.run(['publish', '--to', cache(), '--no-upstream', '--dry-run', '--json']);
    expect(exitCode).toBe(3); // the broken output stays broken
    expect(JSON.parse(stdout)).toMatchObject({
      dryRun: true,
      outputs: [{ status: 'to-build' }, { status: 'to-build' }],
    });
    await expect(readFile(join(cli.nix.dir, 'cache/oci-layout'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('exits with 3 when some outputs fail, and tells GitHub', async () => {
    const { exitCode, stdout, stderr } = await cli.run(
      ['publish', '--to', cache(), '--no-upstream', '--json'],
      github(),
    );
    expect(exitCode).toBe(3);
    const result = JSON.parse(stdout) as { pushed: string[]; outputs: { status: string }[] };
    expect(result.outputs.map(({ status }) => status)).toEqual(['failed', 'built']);
    expect(result.pushed).toEqual([expect.stringMatching(/^\/nix\/store\/.*-good-1$/)]);
    expect(stderr).toContain('::group::pushing\n');
    expect(stderr).toMatch(/^::warning title=nixcache::packages\.\S+\.bad failed to build: /m);
    const page = await readFile(summary(), 'utf8');
    expect(page).toContain(`nixcache serve --from ${cache()}`);
    expect(page).toMatch(/broken` does not evaluate\*\*: .*broken on purpose/);
    expect(await readFile(join(cli.nix.dir, 'output'), 'utf8')).toMatch(/^pushed<<(\S+)\n1\n\1$/m);
    for (const secret of [key.secret.slice(7), 'hunter22']) expect(stdout + stderr).not.toContain(secret);
  });

  it('exits with 0 when what was asked for is there already, and needs no terminal', async () => {
    const { exitCode, stdout, stderr } = await cli.run(
      ['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good'],
      { NIX_SIGNING_KEY: key.secret },
    );
    expect([exitCode, stdout]).toEqual([0, '']);
    expect(stderr).toContain('outputs: 1 in the cache already');
    expect(stderr).not.toContain('\u001b');
  });

  it('says what it would build, and why it did nothing', async () => {
    const args = [
      'publish',
      '--to',
      `oci:${join(cli.nix.dir, 'nothing')}`,
      '--no-upstream',
      '--only',
      'packages.*.bad',
    ];
    const planned = await cli.run([...args, '--dry-run']);
    expect(planned.stdout).toMatch(/WOULD BE BUILT, THEN PUSHED +SYSTEM\npackages\.x86_64-linux\.bad +x86_64-linux$/);
    const unbuilt = await cli.run([...args, '--no-build', '-q']);
    expect(unbuilt).toMatchObject({ exitCode: 0, stdout: '' });
    expect(unbuilt.stderr).toContain('warning: nothing was published: no output is built, and --no-build was given');
    const again = await cli.run(['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good']);
    expect(again.stderr).toContain('nothing to push: the cache has all of it');
    expect(again.stderr).not.toContain('not needed');
    const plan = await cli.run(['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good', '--dry-run']);
    expect(plan.stdout).toMatch(/^in the cache +1 +\d+ B$/m);
  });

  it('warns loudly when it signs nothing, even when quiet', async () => {
    const { stderr } = await cli.run(['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good', '-q']);
    expect(stderr).toMatch(/^warning: there is no signing key: /);
  });

  it('gives no program that it runs a secret of ours', async () => {
    const bin = join(cli.nix.dir, 'bin');
    await mkdir(bin);
    const script = `#!/bin/sh\nenv >> ${bin}/seen\nPATH=\${PATH#*:}\nexec nix "$@"\n`;
    await writeFile(join(bin, 'nix'), script, { mode: 0o755 });
    const PATH = `${bin}:${cli.nix.env['PATH']}`;
    const secrets = { NIXCACHE_SIGNING_KEY: key.secret, NIXCACHE_PASSWORD: 'hunter22', PATH };
    expect(await cli.run(['discover', '--only', 'packages.*.good'], { ...github(), ...secrets })).toMatchObject({
      exitCode: 0,
    });
    const seen = await readFile(join(bin, 'seen'), 'utf8');
    expect(seen).toContain('GITHUB_ACTIONS=true');
    for (const secret of [key.secret.slice(7), 'NIXCACHE_PASSWORD']) expect(seen).not.toContain(secret);
  });

  it('stops cleanly on Ctrl-C', async () => {
    const slow = join(cli.nix.dir, 'slow');
    await mkdir(slow);
    await writeFile(
      join(slow, 'flake.nix'),
      FLAKE.replace('echo good', 'sleep 60; echo good').replace('good-1', 'slow-1'),
    );
    const args = ['publish', '--to', cache(), '--no-upstream', '--only', 'packages.*.good'];
    await using running = await startCli(
      args,
      { cwd: slow, env: cli.nix.env },
      { stream: 'stderr', text: 'building slow-1' },
    );
    running.signal('SIGINT');
    const { exitCode, stdout, stderr } = await running.result;
    expect([exitCode, stdout]).toEqual([130, '']);
    expect(stderr).toMatch(
      /nixcache: interrupted while building: nothing of this run is in the cache yet; what was built stays in the local store, and the same command goes on from there$/,
    );
  });

  it('serves what was published', async () => {
    await using server = await startCli(['serve', '--from', cache(), '--port', '0', '--no-upstream'], {
      env: cli.nix.env,
    });
    const { stdout } = await cli.run(['discover', '--json', '--only', 'packages.*.good']);
    const [path = ''] = /\/nix\/store\/[^"]*good-1(?=")/.exec(stdout) ?? [];
    const narInfo = await fetch(`${server.firstLine}/${path.slice(11, 43)}.narinfo`);
    expect(await narInfo.text()).toMatch(/^Sig: test-1:/m);
    expect(await (await fetch(`${server.firstLine}/public-key`)).text()).toContain(key.public);
  });
});
