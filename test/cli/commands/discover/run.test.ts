import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../../run-cli.ts';
import { type NixCli, openNixCli } from '../nix-cli.ts';

let cli: NixCli;
beforeAll(async () => {
  cli = await openNixCli();
});
afterAll(() => cli.nix.cleanup());

describe('discover', () => {
  it('lists outputs on stdout and failures on stderr', async () => {
    const { exitCode, stdout, stderr } = await cli.run(['discover']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^OUTPUT +SYSTEM +STORE PATH\npackages\.\S+\.bad .*\npackages\.\S+\.good .*good-1$/);
    expect(stderr).toMatch(/packages\.\S+\.broken does not evaluate: broken on purpose/);
  });

  it('fails when nothing of what was asked for evaluates, as publish does', async () => {
    const { exitCode, stdout, stderr } = await cli.run(['discover', '--only', '**.broken']);
    expect([exitCode, stdout]).toEqual([1, '']);
    expect(stderr).toContain('0 outputs, 1 failed to evaluate');
  });

  it('lists every output of a derivation, by the name that it has as a root, wherever the flake lies', async () => {
    const flake = join(cli.nix.dir, 'two outputs, für zwei');
    await mkdir(flake);
    const derivation =
      'derivation { name = "two"; system = "x86_64-linux"; builder = "/bin/sh"; outputs = [ "out" "man" ]; }';
    await writeFile(join(flake, 'flake.nix'), `{ outputs = _: { packages.x86_64-linux.two = ${derivation}; }; }`);
    const { stdout, stderr } = await runCli(['discover', '--system', 'x86_64-linux'], { cwd: flake, env: cli.nix.env });
    expect(stderr).toBe('1 output');
    expect(stdout).toMatch(/\npackages\.x86_64-linux\.two +x86_64-linux +\/nix\/store\/\S+-two$/m);
    expect(stdout).toMatch(/\npackages\.x86_64-linux\.two\^man +x86_64-linux +\/nix\/store\/\S+-two-man$/m);
  });

  it('prints one JSON document', async () => {
    const { stdout } = await cli.run(['discover', '--json', '--only', 'packages.*.good', '--quiet']);
    expect(JSON.parse(stdout)).toMatchObject({
      outputs: [{ kind: 'packages', name: 'good-1', outputs: { out: expect.stringContaining('/nix/store/') } }],
      failures: [],
    });
  });

  it('prints a matrix of all systems, for GitHub too', async () => {
    const file = join(cli.nix.dir, 'discover-output');
    const { stdout } = await cli.run(['discover', '--matrix'], { GITHUB_OUTPUT: file });
    expect(JSON.parse(stdout)).toMatchObject({
      include: [
        { system: 'aarch64-linux', runner: 'ubuntu-24.04-arm' },
        { system: 'x86_64-linux', runner: 'ubuntu-latest' },
      ],
    });
    expect(await readFile(file, 'utf8')).toContain(`\n${stdout}\n`);
  });

  it('warns of an empty matrix, which GitHub takes for a failure', async () => {
    const { exitCode, stdout, stderr } = await cli.run(['discover', '--matrix', '--kinds', 'formatter']);
    expect([exitCode, stdout]).toEqual([0, '{"include":[]}']);
    expect(stderr).toMatch(/warning: the matrix is empty, and GitHub fails a job with an empty one/);
    expect((await cli.run(['discover', '--matrix'])).stderr).not.toContain('empty');
  });

  it('takes globs that select nothing for a mistake', async () => {
    const inVain = await cli.run(['discover', '--only', '*.good']);
    expect([inVain.exitCode, inVain.stdout]).toEqual([2, '']);
    expect(inVain.stderr).toMatch(
      /--only '\*\.good' matches no output of the flake for \S+; did you mean '\*\*\.good'\?/,
    );
    const typo = await cli.run(['discover', '--only', 'packages.*.good', '--only', 'nope', '--exclude', '*.typo']);
    expect([typo.exitCode, typo.stdout]).toEqual([0, expect.stringContaining('.good')]);
    expect(typo.stderr).toContain("warning: --only 'nope' matches no output");
    expect(typo.stderr).toContain("warning: --exclude '*.typo' matches no output");
    const elsewhere = ['--system', 'x86_64-linux', '--exclude', 'packages.aarch64-linux.absent'];
    expect((await cli.run(['discover', ...elsewhere])).stderr).not.toContain('matches no output');
  });

  it('of what is no flake is a usage error', async () => {
    const { exitCode, stdout } = await cli.run(['discover', join(cli.nix.dir, 'none')]);
    expect([exitCode, stdout]).toEqual([2, '']);
  });
});
