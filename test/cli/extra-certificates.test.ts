import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { nixcache } from '../support/e2e-cli.ts';
import { placeOddFile } from '../support/odd-files.ts';
import { tempDir } from '../support/temp-dir.ts';

const PATH = process.env['PATH'] ?? '';

it('says that NODE_EXTRA_CA_CERTS is a named pipe, on which Node would hang', async () => {
  const home = await tempDir();
  const file = join(home, 'ca.pem');
  await placeOddFile(file, 'pipe');
  const env = { PATH, HOME: home, NODE_EXTRA_CA_CERTS: file };
  expect(await nixcache(['list', '--from', 'oci:none'], { env, cwd: home })).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/NODE_EXTRA_CA_CERTS names .*ca\.pem, which is a named pipe/),
  });
});

it.each(['cat ca.pem', 'true'])("leaves Node's reading of a shell's pipe alone: <(%s)", async (command) => {
  const home = await tempDir();
  await writeFile(join(home, 'ca.pem'), '');
  const script = `NODE_EXTRA_CA_CERTS=<(${command}) ${process.execPath} ${join(import.meta.dirname, '../../bin/nixcache.js')} list --from oci:none`;
  const { stderr } = await execa('bash', ['-c', script], { cwd: home, env: { HOME: home }, reject: false });
  expect(stderr).toContain('there is no cache');
});
