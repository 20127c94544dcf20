/** What discovery finds in real flakes, by each real Nix. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { discover } from '../../src/nix-store/discover.ts';
import { KINDS } from '../../src/nix-store/flake-expression.ts';
import { planMatrix } from '../../src/nix-store/matrix.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const FIXTURES = resolve(import.meta.dirname, '../nix-store/fixtures');
const SYSTEM = 'x86_64-linux';

describe.each(NIX_VERSIONS)('discovery by $name', (nix) => {
  let nixEnv: NixEnv;
  let command: NixCommand;

  beforeAll(async () => {
    requireNix(nix);
    nixEnv = await createNixEnv({ bin: nix.bin });
    command = new NixCommand({ env: nixEnv.env });
  });
  afterAll(() => nixEnv?.cleanup());

  const writeFlake = (name: string, text: string): string => {
    const dir = join(nixEnv.dir, name);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'flake.nix'), text);
    return dir;
  };
  const oneOutput = `{ packages.${SYSTEM}.a = derivation { name = "a"; system = "${SYSTEM}"; builder = "/bin/sh"; }; }`;

  it('finds packages, hosts and shells of one system when not told otherwise', async () => {
    const found = await discover(`path:${FIXTURES}/kinds`, { command, systems: [SYSTEM] });
    expect(found.failures).toEqual([]);
    expect(found.outputs.map(({ attrPath, name }) => `${attrPath} = ${name}`)).toEqual([
      'devShell.x86_64-linux = old-shell',
      'devShells.x86_64-linux.default = shell-inputs',
      'nixosConfigurations.web = nixos-system-web',
      'packages.x86_64-linux."with.dot" = with.dot',
      'packages.x86_64-linux.default = hello',
      'packages.x86_64-linux.two = two',
    ]);
    // The same in every Nix: `nix-store --query --outputs`, 2.8.0.
    expect(found.outputs.at(-1)).toEqual({
      attrPath: 'packages.x86_64-linux.two',
      kind: 'packages',
      name: 'two',
      system: SYSTEM,
      drvPath: expect.stringMatching(/^\/nix\/store\/[0-9a-z]{32}-two\.drv$/),
      outputs: {
        out: '/nix/store/g39l7xzdzfg6hc7wjarh3kwfl5sycc3c-two',
        dev: '/nix/store/d4b71cpi48sd14qsc7kwxrcrwpi8pbly-two-dev',
      },
    });
  });

  it('finds every kind in every system when asked to, and a job for each system', async () => {
    const found = await discover(`path:${FIXTURES}/kinds`, { command, systems: 'all', kinds: KINDS });
    expect(found.failures).toEqual([]);
    expect(new Set(found.outputs.map(({ kind }) => kind))).toEqual(new Set(KINDS));
    const hello = found.outputs.find(({ attrPath }) => attrPath === `packages.${SYSTEM}.default`);
    expect(found.outputs.find(({ kind }) => kind === 'apps')).toMatchObject({
      attrPath: `apps.${SYSTEM}.run`,
      drvPath: hello?.drvPath,
      outputs: hello?.outputs,
    });
    expect(planMatrix(found).matrix.include.map(({ system }) => system)).toEqual([
      'aarch64-darwin',
      'aarch64-linux',
      'x86_64-linux',
    ]);
  });

  it('finds what is good among everything that can be broken, and says what is wrong with each', async () => {
    const kinds = [...KINDS];
    const found = await discover(`path:${FIXTURES}/broken`, { command, systems: [SYSTEM], kinds });
    expect(found.outputs.map(({ attrPath }) => attrPath)).toEqual([
      'hydraJobs.nested.deeper.job',
      'nixosConfigurations.host',
      'packages.x86_64-linux.good',
    ]);
    expect(Object.fromEntries(found.failures.map(({ attrPath, error }) => [attrPath, error]))).toEqual({
      'devShells.x86_64-linux': expect.stringContaining('broken: all dev shells'),
      'hydraJobs.broken': expect.stringContaining('broken: job'),
      'nixosConfigurations.broken': expect.stringContaining('broken: host'),
      'packages.x86_64-linux.aborts': expect.stringContaining('broken: aborts'),
      'packages.x86_64-linux.asserts': expect.stringContaining('assertion'),
      'packages.x86_64-linux.loops': expect.stringContaining('infinite recursion'),
      'packages.x86_64-linux.misses': expect.stringContaining('broken-missing-attribute'),
      'packages.x86_64-linux.mistyped': expect.stringMatching(/cannot (?:add|coerce)/),
      'packages.x86_64-linux.nothing': expect.stringContaining('not a derivation'),
      'packages.x86_64-linux.throws': expect.stringContaining('broken: throws'),
    });
    for (const { error } of found.failures) expect(error).not.toContain('\n');
  });

  it('says where something is wrong in the flake, and not in files of ours', async () => {
    const flake = writeFlake(
      'odd',
      '{ outputs = _: { packages = 5; nixosConfigurations.empty.config.system.build = { }; }; }',
    );
    const { failures } = await discover(`path:${flake}`, { command, systems: [SYSTEM] });
    expect(Object.fromEntries(failures.map(({ attrPath, error }) => [attrPath, error]))).toEqual({
      packages: expect.stringMatching(/set/),
      'nixosConfigurations.empty': expect.stringContaining("'toplevel' missing"),
    });
    for (const { error } of failures) expect(error).not.toMatch(/answer|Added input/);
  });

  it('does not look at what is not asked for', async () => {
    const options = { command, systems: [SYSTEM], only: ['packages.*.{good,throws}'], exclude: ['**.throws'] };
    const found = await discover(`path:${FIXTURES}/broken`, options);
    expect(found.outputs.map(({ attrPath }) => attrPath)).toEqual(['packages.x86_64-linux.good']);
    expect(found.failures).toEqual([]);
  });

  it('reads a flake with inputs and no lock file, and leaves none behind', async () => {
    const input = writeFlake('input', `{ outputs = { self }: ${oneOutput}; }`);
    const flake = writeFlake(
      'lockless',
      `{ inputs.other.url = "path:${input}"; outputs = { self, other }: { inherit (other) packages; }; }`,
    );
    const found = await discover(`path:${flake}`, { command, systems: [SYSTEM] });
    expect(found.outputs.map(({ attrPath }) => attrPath)).toEqual(['packages.x86_64-linux.a']);
    expect(existsSync(join(flake, 'flake.lock'))).toBe(false);
  });

  it('reads a relative reference below a git work tree, changes included, and tells the commit', async () => {
    const flake = writeFlake('work/sub', `{ outputs = { self }: ${oneOutput}; }`);
    const git = (...args: readonly string[]): string =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: flake, encoding: 'utf8' });
    git('init', '--quiet', '..');
    git('add', '.');
    git('commit', '--quiet', '--message', 'one');
    const here = new NixCommand({ env: nixEnv.env, cwd: flake });
    const clean = await discover('.', { command: here, systems: [SYSTEM] });
    expect(clean.source.revision).toBe(git('rev-parse', 'HEAD').trim());
    expect(clean.source.url).toMatch(/^git\+file:.*\?dir=sub$/);
    expect(clean.outputs).toHaveLength(1);

    writeFileSync(join(flake, 'flake.nix'), `{ outputs = { self }: ${oneOutput.replace('.a =', '.changed =')}; }`);
    const dirty = await discover('.', { command: here, systems: [SYSTEM] });
    expect(dirty.outputs.map(({ attrPath }) => attrPath)).toEqual(['packages.x86_64-linux.changed']);
    expect(dirty.source.revision).not.toBe(clean.source.revision);
    expect(existsSync(join(flake, 'flake.lock'))).toBe(false);
  });

  it.each([
    ['no-syntax', '{ outputs = ', /syntax error/],
    ['no-outputs', '{ outputs = { self }: throw "broken: everything"; }', /broken: everything/],
    ['no-input', '{ inputs.x.url = "path:/nonexistent-input"; outputs = { self, x }: { }; }', /nonexistent/],
  ])('says of the flake %s what is wrong with it', async (name, text, message) => {
    const flake = writeFlake(name, text);
    await expect(discover(`path:${flake}`, { command, systems: [SYSTEM] })).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringMatching(message),
    });
  });

  it('says so where there is no flake', async () => {
    await expect(discover(`path:${nixEnv.dir}/none`, { command })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    await expect(discover('--version', { command })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('finds nothing in a flake without outputs of ours', async () => {
    const flake = writeFlake('plain', '{ outputs = { self }: { lib = { }; packages = { }; }; }');
    expect(await discover(`path:${flake}`, { command })).toMatchObject({ outputs: [], failures: [] });
  });

  it('stops when asked to', async () => {
    const signal = AbortSignal.timeout(1);
    await expect(discover(`path:${FIXTURES}/kinds`, { command, signal })).rejects.toMatchObject({
      code: 'ERR_INTERRUPTED',
    });
  });
});
