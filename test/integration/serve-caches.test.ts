/** Several caches in one server, as a config file names them. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { startServe } from '../support/e2e-cli.ts';
import { tempDir } from '../support/temp-dir.ts';

it('answers each below its prefix, with its own tokens, which a SIGHUP changes', async () => {
  const home = await tempDir();
  for (const name of ['one', 'two']) {
    const builder = new CacheBuilder(await LayoutStore.open(join(home, name), { create: true }));
    await builder.publish({ at: new Date(), paths: [`of-${name}`], roots: [`of-${name}`] });
  }
  const file = join(home, 'nixcache.toml');
  const write = (...lines: string[]): Promise<void> => writeFile(file, `${lines.join('\n')}\n`);
  await writeFile(join(home, 'tokens'), 'first-token-of-team-two\n', { mode: 0o600 });
  const two = ['[[serve.cache]]', 'prefix = "/two"', 'cache = "oci:two"', 'read_token_file = "tokens"'];
  await write('upstreams = []', '[[serve.cache]]', 'cache = "oci:one"', ...two);
  await using server = await startServe([], { env: { PATH: process.env['PATH'] ?? '', HOME: home }, cwd: home });
  const status = async (path: string, token = ''): Promise<number> =>
    (await fetch(server.url + path, { headers: token === '' ? {} : { authorization: `Bearer ${token}` } })).status;
  const narInfo = (name: string): string => `/${hashPartFor(name)}.narinfo`;
  expect(await status(narInfo('of-one'))).toBe(200);
  expect(await status(narInfo('of-two'), 'first-token-of-team-two')).toBe(404);
  expect(await status(`/two${narInfo('of-two')}`)).toBe(401);
  expect(await status(`/two${narInfo('of-two')}`, 'first-token-of-team-two')).toBe(200);
  expect(await status(`/two${narInfo('of-one')}`, 'first-token-of-team-two')).toBe(404);

  await writeFile(join(home, 'tokens'), 'second-token-of-team-two\n');
  server.signal('SIGHUP');
  await expect.poll(() => status('/two/nix-cache-info', 'second-token-of-team-two')).toBe(200);
  expect(await status('/two/nix-cache-info', 'first-token-of-team-two')).toBe(401);
  // Another set of caches is for the next start, and nothing of it is given to those that there are.
  await write(
    'upstreams = []',
    '[[serve.cache]]',
    'cache = "oci:one"',
    '[[serve.cache]]',
    'prefix = "/three"',
    'cache = "oci:two"',
  );
  server.signal('SIGHUP');
  await server.said('what is new of serve.cache counts only after a restart');
  expect([await status('/two/nix-cache-info'), await status('/three/nix-cache-info')]).toEqual([401, 404]);
  const { stderr, exitCode } = await server.stop();
  expect(stderr).toContain(`extra-substituters = ${server.url}/two`);
  expect(exitCode).toBe(0);
});
