/** Real Nix as the client of a private cache, which reads its tokens again at a SIGHUP. */
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, it, onTestFinished } from 'vitest';
import { smallCache } from '../cli/commands/small-cache.ts';
import { baseNameFor } from '../support/cache-builder.ts';
import { startServe } from '../support/e2e-cli.ts';
import { createNixEnv } from '../support/nix-env.ts';

const cache = smallCache();
const TOKEN = '6f1ed002ab5595859014ebf0951522d9';
const NEXT = '0cc175b9c0f1b6a831c399e269772661';

it('is read by who has a token in its URL, and by nobody else', async () => {
  const { env, cleanup } = await createNixEnv();
  onTestFinished(cleanup);
  const file = join(cache.home, 'tokens');
  await writeFile(file, `# those of the team\nlaptop read ${TOKEN}\n`, { mode: 0o644 });
  await chmod(file, 0o644);
  const args = ['--from', cache.reference, '--no-upstream', '--verbose', '--read-token-file', file];
  await using server = await startServe(args, { env: { PATH: process.env['PATH'] ?? '', HOME: cache.home } });
  const path = `/nix/store/${baseNameFor('hello-1')}`;
  const asks = async (login: string): Promise<boolean> => {
    const store = server.url.replace('//', `//${login}`);
    const options = ['--extra-experimental-features', 'nix-command', '--narinfo-cache-negative-ttl', '0'];
    // A home of its own each time: Nix keeps what it was told of a cache.
    const home = { ...env, XDG_CACHE_HOME: join(cache.home, 'nix-cache', login) };
    const { exitCode } = await execa('nix', ['path-info', ...options, '--store', store, path], {
      ...{ env: home, extendEnv: false, reject: false, timeout: 60_000 },
    });
    return exitCode === 0;
  };
  expect([await asks(`any:${TOKEN}@`), await asks('any:wrong@'), await asks('')]).toEqual([true, false, false]);

  await writeFile(file, `${NEXT}\n`);
  server.signal('SIGHUP');
  await server.said('settings read again');
  expect([await asks(`any:${TOKEN}@`), await asks(`any:${NEXT}@`)]).toEqual([false, true]);

  await writeFile(file, `two words ${NEXT.slice(1)} ${NEXT}\n`);
  server.signal('SIGHUP');
  await server.said('the settings stay as they were');
  expect(await asks(`any:${NEXT}@`)).toBe(true);
  const { stderr, exitCode } = await server.stop();
  expect(stderr).toContain(`can be read by others (mode 0644): chmod 600 ${file}`);
  for (const secret of [TOKEN, NEXT, NEXT.slice(1)]) expect(stderr).not.toContain(secret);
  expect(exitCode).toBe(0);
});

it.each([
  ['', 'there is no token in it'],
  ['a b', 'line 1: there are 2 words'],
])('does not start with a file of %j', async (text, reason) => {
  const file = join(cache.home, 'bad-tokens');
  await writeFile(file, text, { mode: 0o600 });
  const { exitCode, stderr } = await cache.nixcache(['serve', '--port', '0', '--read-token-file', file]);
  expect([exitCode, stderr]).toEqual([
    2,
    expect.stringContaining(`read tokens from ${file} (--read-token-file): ${reason}`),
  ]);
});
