import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { requireBuild } from '../support/e2e-cli.ts';
import { tempDir } from '../support/temp-dir.ts';

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

it.each([
  ['which starts once more in the same process', ['copy', '--path', '-', 'oci:.', 'oci:x'], 2, '/nix/nothing'],
  ['which does not', ['push', '-', '--to', 'oci:/nonexistent/x'], 1, 'no Nix found'],
])('gives a job, %s, its arguments, input and exit code', async (_, args, code, message) => {
  const cwd = await tempDir();
  await writeFile(join(cwd, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(join(cwd, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
  const { stderr, exitCode, all } = await execa(process.execPath, [BIN, ...args], {
    env: { PATH: '/nonexistent' },
    cwd,
    extendEnv: false,
    reject: false,
    all: true,
    input: '/nix/nothing\n',
  });
  expect(stderr).toContain(message);
  expect(all).not.toContain('xperimental');
  expect(exitCode).toBe(code);
});
