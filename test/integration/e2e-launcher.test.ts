import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { requireBuild } from '../support/e2e-cli.ts';

requireBuild();

const BIN = fileURLToPath(new URL('../../bin/nixcache.js', import.meta.url));
/** Without the Node that npm scripts get: the machine's own is left, which may be an older one. */
const PATH = (process.env['PATH'] ?? '')
  .split(':')
  .filter((directory) => !directory.includes('node_modules'))
  .join(':');

it("starts by itself under the machine's own Node, whatever its version", async () => {
  const { stdout } = await execa(BIN, ['--version'], { env: { PATH }, extendEnv: false });
  expect(stdout).toMatch(/^nixcache [0-9]/);
  expect(await execa(BIN, ['nonsense'], { env: { PATH }, extendEnv: false, reject: false })).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("unknown command 'nonsense'"),
  });
});

it('starts long jobs once more in the same process, with their arguments, input and exit code', async () => {
  const { stderr, exitCode, all } = await execa(process.execPath, [BIN, 'push', '-', '--to', 'oci:/nonexistent/x'], {
    env: { PATH: '/nonexistent' },
    extendEnv: false,
    reject: false,
    all: true,
    input: '/nix/store/nothing\n',
  });
  expect(stderr).toContain('no Nix found');
  expect(all).not.toContain('xperimental');
  expect(exitCode).toBe(1);
});
