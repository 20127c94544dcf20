import { expect, it } from 'vitest';
import { parseStorePath } from '../../src/nix/store-path.ts';
import type { FlakeOutput } from '../../src/nix-store/flake-output.ts';
import { planMatrix } from '../../src/nix-store/matrix.ts';

const output = (system: string): FlakeOutput => ({
  attrPath: `packages.${system}.a`,
  kind: 'packages',
  name: 'a',
  system,
  drvPath: parseStorePath('/nix/store/00000000000000000000000000000000-a.drv'),
  outputs: {},
});

it('gives each system one job on a runner that can build for it', () => {
  const systems = ['x86_64-linux', 'aarch64-linux', 'x86_64-linux', 'aarch64-darwin', 'x86_64-darwin'];
  expect(planMatrix({ outputs: systems.map(output), failures: [] }).matrix).toEqual({
    include: [
      { system: 'aarch64-darwin', runner: 'macos-latest', outputs: 1 },
      { system: 'aarch64-linux', runner: 'ubuntu-24.04-arm', outputs: 1 },
      { system: 'x86_64-darwin', runner: 'macos-15-intel', outputs: 1 },
      { system: 'x86_64-linux', runner: 'ubuntu-latest', outputs: 2 },
    ],
  });
});

it('lets no flake choose a runner of one’s own, but only who calls it', () => {
  const outputs = ['riscv64-linux', 'prod-deploy', '__proto__', 'x86_64-linux'].map(output);
  const plan = planMatrix({ outputs, failures: [] });
  expect(plan.matrix.include.map(({ system }) => system)).toEqual(['x86_64-linux']);
  expect(plan.withoutRunner).toEqual(['__proto__', 'prod-deploy', 'riscv64-linux']);
  const named = planMatrix({ outputs, failures: [] }, new Map([['riscv64-linux', ['self-hosted', 'riscv']]]));
  expect(named.matrix.include).toEqual([
    { system: 'riscv64-linux', runner: ['self-hosted', 'riscv'], outputs: 1 },
    { system: 'x86_64-linux', runner: 'ubuntu-latest', outputs: 1 },
  ]);
});

it('has a job for a system whose every output is broken', () => {
  const failures = [
    { attrPath: 'packages.aarch64-linux.broken', error: 'no' },
    { attrPath: 'nixosConfigurations.web', error: 'no' },
  ];
  expect(planMatrix({ outputs: [], failures }).matrix.include.map(({ system }) => system)).toEqual(['aarch64-linux']);
});

it('is empty for a flake without outputs', () => {
  expect(planMatrix({ outputs: [], failures: [] }).matrix).toEqual({ include: [] });
});
