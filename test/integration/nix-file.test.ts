/** Nix expressions without a flake, by each real Nix: what nix-build builds of them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { discover } from '../../src/nix-store/discover.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { nixcache } from '../support/e2e-cli.ts';
import { lines, readJson, runNix } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const RUN = `name: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo \${name} > $out" ];
}`;

const FILES: Readonly<Record<string, string>> = {
  'run.nix': RUN,
  'one.nix': `{ name ? "one", ... }: import ./run.nix name`,
  'dir/default.nix': `import ../run.nix "in-dir"`,
  'wants.nix': '{ pkgs }: pkgs.hello',
  'number.nix': '7',
  'broken.nix': '{ a = ',
  'set.nix': `{ suffix ? "" }: let run = import ./run.nix; in {
    a = run ("a" + suffix);
    "with.dot" = run "dotted";
    text = "no derivation";
    lib = { hidden = run "hidden"; };
    function = { }: run "of-function";
    inner = { recurseForDerivations = true; b = run "b"; deeper = { recurseForDerivations = true; c = run "c"; }; };
    broken = throw "it is broken";
    aborts = abort "it stops all";
  }`,
  'list.nix': 'let run = import ./run.nix; in [ (run "x") { y = run "y"; } [ (run "z") ] ]',
};

describe.each(NIX_VERSIONS)('a file, by $name', (nix) => {
  let nixEnv: NixEnv;
  let command: NixCommand;
  const at = (file: string): string => join(nixEnv.dir, 'files', file);

  beforeAll(async () => {
    requireNix(nix);
    nixEnv = await createNixEnv({ bin: nix.bin });
    command = new NixCommand({ env: nixEnv.env });
    for (const [file, text] of Object.entries(FILES)) {
      await mkdir(dirname(at(file)), { recursive: true });
      await writeFile(at(file), text);
    }
  });
  afterAll(() => nixEnv?.cleanup());

  const find = async (file: string, ...attrs: string[][]) => {
    const { outputs, failures } = await discover({ file: at(file) }, { command, attrs });
    return {
      outputs: outputs.map(({ attrPath, name }) => `${attrPath} = ${name}`),
      failures: failures.map(({ attrPath, error }) => `${attrPath}: ${error}`),
    };
  };

  it.each([
    ['one.nix', [], ['one = one']],
    ['dir', [], ['default = in-dir']],
    ['list.nix', [], ['0 = x', '1.y = y', '2.0 = z']],
    ['set.nix', [['inner']], ['inner.b = b', 'inner.deeper.c = c']],
    ['set.nix', [['lib'], ['with.dot']], ['"with.dot" = dotted', 'lib.hidden = hidden']],
    ['set.nix', [['function']], ['function = of-function']],
    ['list.nix', [['1', 'y']], ['1.y = y']],
  ])('%s at %j is what nix-build takes it for', async (file, attrs, outputs) => {
    expect(await find(file, ...attrs)).toEqual({ outputs, failures: [] });
    const args = attrs.flatMap((path) => [
      '-A',
      path.map((part) => (part.includes('.') ? `"${part}"` : part)).join('.'),
    ]);
    const theirs = lines(await runNix(nixEnv, 'nix-instantiate', at(file), ...args));
    const { outputs: found } = await discover({ file: at(file) }, { command, attrs });
    expect(found.map(({ drvPath }) => drvPath as string).toSorted()).toEqual(theirs.toSorted());
  });

  it('with something broken in it hides nothing else', async () => {
    expect(await find('set.nix')).toEqual({
      outputs: ['"with.dot" = dotted', 'a = a', 'inner.b = b', 'inner.deeper.c = c'],
      failures: [expect.stringMatching(/^aborts: .*it stops all/), expect.stringMatching(/^broken: .*it is broken/)],
    });
  });

  it.each([
    ['wants.nix', /wants: .*wants a value for pkgs/],
    ['number.nix', /number: .*neither a derivation nor a set.*but a value of type int/],
  ])('%s is a failure that says why', async (file, message) => {
    const { outputs, failures } = await find(file);
    expect(outputs).toEqual([]);
    expect(failures).toEqual([expect.stringMatching(message)]);
  });

  it('that is not there, or no Nix, is an error that names it', async () => {
    await expect(find('none.nix')).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringContaining('none.nix'),
    });
    await expect(find('broken.nix')).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringContaining('broken.nix'),
    });
    const { failures } = await find('set.nix', ['nope']);
    expect(failures).toEqual([expect.stringMatching(/^nope: .*nope/)]);
  });

  it('is published, with the file and its commit as the source of its roots', async () => {
    const directory = join(nixEnv.dir, 'files');
    const git = (...args: string[]) => execa('git', ['-C', directory, ...args]);
    await git('init', '-q');
    await git('add', '.');
    await git('-c', 'user.name=t', '-c', 'user.email=t@example.org', 'commit', '-qm', 'all');
    const revision = (await git('rev-parse', 'HEAD')).stdout;
    const cache = `oci:${join(nixEnv.dir, 'cache')}`;
    const args = ['publish', '--file', 'set.nix', '-A', 'inner', '-A', 'a', '--to', cache, '--no-upstream', '--json'];
    const published = await nixcache(args, { env: nixEnv.env, cwd: directory });
    expect(published).toMatchObject({ exitCode: 0 });
    expect(readJson(published.stdout).outputs.map(({ attrPath, status }) => `${attrPath} ${status}`)).toEqual([
      'a built',
      'inner.b built',
      'inner.deeper.c built',
    ]);
    const { roots } = JSON.parse((await nixcache(['list', '--json', '--cache', cache], { env: nixEnv.env })).stdout);
    expect(roots).toHaveLength(3);
    expect(roots[0]).toMatchObject({ name: 'a', source: `file://${directory}/set.nix`, revision });
  });
});

describe('the command line', () => {
  it.each([
    [['.', '--file', 'x.nix'], /--file is instead of a flake: give it, or \., but not both/],
    [['--attr', 'a'], /--attr is for --file FILE; of a flake, --only picks outputs/],
    [['--file', 'x.nix', '--kinds', 'checks'], /--kinds is for flakes, not for --file/],
    [['--file', 'x.nix', '--override-input', 'a', 'b'], /--override-input is for flakes/],
    [['--file', '/nope'], /read the Nix expression \/nope: there is no such file or directory/],
    [['--file', 'x.nix', '--attr', ''], /--attr is empty/],
  ])('refuses %j', async (args, message) => {
    for (const command of [['discover'], ['publish', '--to', 'oci:/proc/nowhere']]) {
      const { exitCode, stderr } = await nixcache([...command, ...args], {
        env: { ...process.env, HOME: '/tmp' } as Record<string, string>,
      });
      expect(stderr).toMatch(message);
      expect(exitCode).toBe(2);
    }
  });
});
