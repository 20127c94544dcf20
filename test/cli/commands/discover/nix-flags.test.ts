/** What `nix build` takes means the same here. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type NixCli, openNixCli } from '../nix-cli.ts';

let cli: NixCli;
let flake: string;
let other: string;
beforeAll(async () => {
  cli = await openNixCli();
  flake = join(cli.nix.dir, 'configured', 'sub');
  other = join(cli.nix.dir, 'other');
  for (const [directory, word] of [
    [join(cli.nix.dir, 'input'), 'usual'],
    [other, 'other'],
  ] as const) {
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'flake.nix'), `{ outputs = _: { word = "${word}"; }; }`);
  }
  await mkdir(flake, { recursive: true });
  const script = '("echo " + input.word + builtins.getEnv "SEEN" + " > $out")';
  await writeFile(
    join(flake, 'flake.nix'),
    `{
  nixConfig = { keep-env-derivations = true; extra-substituters = [ "http://127.0.0.1:9" ]; bash-prompt = "x"; };
  inputs.input.url = "path:${join(cli.nix.dir, 'input')}";
  outputs = { self, input }: { packages.x86_64-linux.it = derivation {
    name = "it"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" ${script} ];
  }; };
}`,
  );
  const repository = join(cli.nix.dir, 'configured');
  const as = ['-c', 'user.name=me', '-c', 'user.email=me@example.org', '-C', repository];
  for (const args of [
    ['init', '-q'],
    ['add', '.'],
    ['commit', '-qm', 'x'],
  ])
    await execa('git', [...as, ...args]);
});
afterAll(() => cli.nix.cleanup());

const nix = async (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> => {
  const features = ['--extra-experimental-features', 'nix-command flakes'];
  const all = { ...cli.nix.env, ...env };
  const attribute = `${flakeRef()}#packages.x86_64-linux.it.drvPath`;
  return (
    await execa('nix', [...features, 'eval', '--no-write-lock-file', '--raw', attribute, ...args], {
      env: all,
      extendEnv: false,
    })
  ).stdout;
};
const flakeRef = (): string => `git+file://${join(cli.nix.dir, 'configured')}?dir=sub`;
const discover = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
  const { stdout, stderr, exitCode } = await cli.run(['discover', flakeRef(), '--json', ...args], env);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr });
  const [output] = (JSON.parse(stdout) as { outputs: { drvPath: string }[] }).outputs;
  return { drvPath: output?.drvPath, stderr };
};

describe('discover', () => {
  it('evaluates with another input', async () => {
    const flags = ['--override-input', 'input', `path:${other}`];
    expect((await discover(flags)).drvPath).toBe(await nix(flags));
    expect((await discover(flags)).drvPath).not.toBe((await discover([])).drvPath);
  });

  it('evaluates with the environment in sight', async () => {
    const seen = { SEEN: 'the-environment' };
    expect((await discover(['--impure'], seen)).drvPath).toBe(await nix(['--impure'], seen));
    expect((await discover([], seen)).drvPath).toBe(await nix([]));
  });

  it('says which settings of the flake are ignored, until they are accepted', async () => {
    const words = "the flake's nixConfig (extra-substituters, keep-env-derivations) is ignored";
    expect((await discover([])).stderr).toContain(words);
    expect((await discover(['--accept-flake-config'])).stderr).not.toContain('is ignored');
    const accepting = { NIX_CONFIG: 'accept-flake-config = true' };
    expect((await discover([], accepting)).stderr).not.toContain('is ignored');
    expect((await discover(['--option', 'accept-flake-config', 'true'])).stderr).not.toContain('is ignored');
  });

  it('wants two words where Nix does', async () => {
    for (const flag of ['--option', '--override-input']) {
      const { exitCode, stderr } = await cli.run(['discover', flakeRef(), flag, 'one']);
      expect(exitCode).toBe(2);
      expect(stderr).toContain(`${flag} takes two words: write ${flag} N`);
    }
  });
});

describe('publish', () => {
  /** Nix's programs, which note what they are called with. */
  async function noting(): Promise<{ env: Record<string, string>; log: string }> {
    const bin = join(cli.nix.dir, 'bin');
    const log = join(cli.nix.dir, 'calls');
    await mkdir(bin, { recursive: true });
    const real = (await execa('sh', ['-c', 'command -v nix-store'])).stdout;
    await writeFile(join(bin, 'nix-store'), `#!/bin/sh\necho "$*" >>${log}\nexec ${real} "$@"\n`, { mode: 0o755 });
    return { env: { PATH: `${bin}:${process.env['PATH']}` }, log };
  }

  it('builds with the settings that the flake asks for and the user accepts', async () => {
    const { env, log } = await noting();
    const to = ['--to', `oci:${join(cli.nix.dir, 'cache')}`, '--no-upstream'];
    const flags = ['--accept-flake-config', '--option', 'max-silent-time', '77'];
    const published = await cli.run(['publish', flakeRef(), ...to, ...flags], env);
    expect(published).toMatchObject({ exitCode: 0 });
    const calls = (await execa('grep', ['--', '--realise', log])).stdout;
    expect(calls).toContain('--option max-silent-time 77');
    expect(calls).toContain('--option extra-substituters http://127.0.0.1:9');
    expect(calls).toContain('--option keep-env-derivations true');
  });
});
