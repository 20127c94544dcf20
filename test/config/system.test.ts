import { expect, it } from 'vitest';
import { assertSystem } from '../../src/config/system.ts';

it.each([
  ['amd64-linux', 'x86_64-linux'],
  ['arm64-darwin', 'aarch64-darwin'],
  ['arm64-macos', 'aarch64-darwin'],
  ['x86-64-linux', 'x86_64-linux'],
  ['linux/amd64', 'x86_64-linux'],
  ['x86_64-lunix', 'x86_64-linux'],
  ['aarch_64-linux', 'aarch64-linux'],
  ['X86_64-Linux', 'x86_64-linux'],
  ['linux-x86_64', 'x86_64-linux'],
])('takes %s for a slip of %s', (given, meant) => {
  expect(() => assertSystem(given)).toThrow(`did you mean '${meant}'?`);
});

it.each(['x86_64-linux', 'riscv32-linux', 'armv5tel-linux', 'mips64el-linux', 'wasm32-wasi', 's390x-linux'])(
  'takes %s as it is',
  (system) => {
    expect(() => assertSystem(system)).not.toThrow();
  },
);

it.each(['linux', 'x86_64', ''])("refuses '%s'", (system) => {
  expect(() => assertSystem(system)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
});
