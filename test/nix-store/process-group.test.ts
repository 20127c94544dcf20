import { expect, it } from 'vitest';
import { startGroup } from '../../src/nix-store/process-group.ts';

const ENV = { PATH: '/usr/bin:/bin' };
const run = (program: string, args: readonly string[], maxStdoutLength = 1000) =>
  startGroup(program, args, { env: ENV, cwd: '/', maxStdoutLength, onStderr: () => undefined }).ended;

it('gives the output without its last line end, characters whole, and nothing of ours in the environment', async () => {
  const script = 'printf "\\303"; sleep 0.1; printf "\\244\\n\\n"; env | grep -c VITEST';
  expect(await run('sh', ['-c', script])).toEqual({ stdout: 'ä\n\n0', exitCode: 1, error: undefined });
});

it('kills what prints more than there may be', async () => {
  expect(await run('yes', [])).toEqual({ stdout: undefined, exitCode: undefined, error: undefined });
});

it.each([
  ['is not there', 'no-such-program', [], 'ENOENT'],
  ['is given more arguments than the system lets through', 'true', ['x'.repeat(3_000_000)], 'E2BIG'],
  ['is given what no argument can be', 'true', ['\0'], 'ERR_INVALID_ARG_VALUE'],
])('says why a program that %s does not start', async (_, program, args, code) => {
  expect(await run(program, args)).toMatchObject({ exitCode: undefined, error: { code } });
});
