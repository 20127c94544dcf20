/** A user that passwd does not know and that has no HOME, as containers are run with any number for a user. */
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const isRoot = process.getuid?.() === 0;

/** Node's own programs may lie where only root may look: it looks first, and then becomes somebody else. */
const AS_NOBODY = `process.setgroups([]); process.setgid(54321); process.setuid(54321); delete process.env.HOME; process.argv.splice(1, 1); await import('${MAIN}');`;

async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { exitCode, stderr, stdout } = await execa(
    process.execPath,
    ['--input-type=module', '-e', AS_NOBODY, 'node', 'nixcache', ...args],
    { env: { PATH: process.env['PATH'] ?? '', ...env }, extendEnv: false, reject: false, cwd: '/' },
  );
  return { exitCode, stderr, stdout };
}

describe.skipIf(!isRoot)('a user without a home', () => {
  it('is told what to set where a home is needed', async () => {
    const { exitCode, stderr } = await run(['list']);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 2 });
    expect(stderr).toMatch(/user 54321 has no home directory: set HOME/);
    expect(stderr).not.toContain('uv_os_homedir');
  });

  it('needs none to reach a registry', async () => {
    const { exitCode, stderr } = await run(['list', '--cache', '127.0.0.1:1/x', '-q']);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1 });
    expect(stderr).toContain('127.0.0.1:1 refused the connection');
  });
});
