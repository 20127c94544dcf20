/** SIGHUP to a running `serve`. */
import { writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { baseName, hashPart, newKey } from '../serve/set-up.ts';
import { startServe } from '../support/e2e-cli.ts';
import { addPath, startFakeUpstream } from '../support/fake-upstream.ts';
import { tempDir } from '../support/temp-dir.ts';

/** A cache that answers what it is asked for when it is told to, and only says at once that it says nothing of itself. */
async function startHeld(): Promise<{ readonly url: string; readonly held: ServerResponse[] }> {
  const held: ServerResponse[] = [];
  const server = createServer(({ url }, response) => {
    if (url === '/nix-cache-info') response.writeHead(404).end();
    else held.push(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, held };
}

it('takes on what the config file says now, and cuts off no answer', async () => {
  const directory = await tempDir();
  const file = join(directory, 'nixcache.toml');
  const [slow, far] = [await startHeld(), await startFakeUpstream()];
  addPath(far, { baseName: baseName(2), nar: Buffer.from('signed'), key: newKey('far-1') });
  const write = (...lines: string[]): Promise<void> => writeFile(file, `${lines.join('\n')}\n`);
  await write(`upstreams = ["${slow.url}"]`, '[serve]', 'priority = 31');
  const options = { env: { PATH: process.env['PATH'] ?? '', HOME: directory }, cwd: directory };
  await using server = await startServe(['--from', `oci:${join(directory, 'cache')}`], options);
  const get = async (path: string): Promise<string> => (await fetch(`${server.url}${path}`)).text();
  const status = async () => JSON.parse(await get('/_status'));
  expect(await get('/nix-cache-info')).toContain('Priority: 31\n');

  const underWay = fetch(`${server.url}/${hashPart(1)}.narinfo`);
  await expect.poll(() => slow.held.length).toBe(1);
  const { uptimeSeconds } = await status();
  await write(`upstreams = ["${far.url}"]`, '[serve]', 'priority = 32', 'listen = "127.0.0.2"');
  server.signal('SIGHUP');
  await expect.poll(() => get('/nix-cache-info')).toContain('Priority: 32\n');
  expect(await status()).toMatchObject({ upstreams: [{ url: far.url }], uptimeSeconds: expect.any(Number) });
  expect((await status()).uptimeSeconds).toBeGreaterThanOrEqual(uptimeSeconds);
  expect(await get(`/${hashPart(2)}.narinfo`)).toContain('StorePath: ');
  const narInfo = String(far.files.get(`/${hashPart(2)}.narinfo`)).replace(hashPart(2), hashPart(1));
  slow.held[0]?.end(narInfo);
  expect((await underWay).status).toBe(200);

  await write(`upstreams = ["${far.url}"]`, `trusted_public_keys = ["${newKey('other-1').publicKey.text}"]`);
  server.signal('SIGHUP');
  await expect.poll(async () => (await fetch(`${server.url}/${hashPart(2)}.narinfo`)).status).toBe(404);
  const { stderr, exitCode } = await server.stop();
  expect(stderr).toContain('serve.listen counts only after a restart');
  expect(exitCode).toBe(0);
});

it('warns when a private cache is open to everyone from then on', async () => {
  const directory = await tempDir();
  const file = join(directory, 'nixcache.toml');
  const tokens = join(directory, 'tokens');
  await writeFile(tokens, `${'a1b2'.repeat(8)}\n`, { mode: 0o600 });
  await writeFile(file, `[serve]\nread_token_file = "${tokens}"\n`);
  const options = { env: { PATH: process.env['PATH'] ?? '', HOME: directory }, cwd: directory };
  const from = `oci:${join(directory, 'cache')}`;
  await using server = await startServe(['--from', from, '--no-upstream'], options);
  const status = async () => (await fetch(`${server.url}/nix-cache-info`)).status;
  expect(await status()).toBe(401);
  await writeFile(file, '[serve]\n');
  server.signal('SIGHUP');
  await expect.poll(status).toBe(200);
  const { stderr } = await server.stop();
  expect(stderr).toContain('from now on: no file of tokens for readers is named any more');
});

it('says what is wrong with a broken config file, and goes on', async () => {
  const directory = await tempDir();
  const file = join(directory, 'nixcache.toml');
  await writeFile(file, 'upstreams = []\n[serve]\npriority = 31\n');
  const options = { env: { PATH: process.env['PATH'] ?? '', HOME: directory }, cwd: directory };
  await using server = await startServe(['--from', `oci:${join(directory, 'cache')}`], options);
  await writeFile(file, 'upstreams = [\n[serve]\npriority = 32\n');
  server.signal('SIGHUP');
  await server.said('settings stay as they were');
  expect(await (await fetch(`${server.url}/nix-cache-info`)).text()).toContain('Priority: 31\n');
  const { stderr } = await server.stop();
  expect(stderr).toMatch(/nixcache\.toml, line [0-9]+: not TOML/);
});

it('names the cache alone when only that is another, and the directory of the index goes with it', async () => {
  const directory = await tempDir();
  const file = join(directory, 'nixcache.toml');
  await writeFile(file, `cache = "oci:${directory}/one"\nupstreams = []\n`);
  const options = { env: { PATH: process.env['PATH'] ?? '', HOME: directory }, cwd: directory };
  await using server = await startServe([], options);
  await writeFile(file, `cache = "oci:${directory}/two"\nupstreams = []\n`);
  server.signal('SIGHUP');
  await server.said('SIGHUP: settings read again');
  await writeFile(file, `cache = "oci:${directory}/one"\nupstreams = []\n[serve]\nindex_dir = "${directory}/index"\n`);
  server.signal('SIGHUP');
  await server.said('serve.index_dir counts');
  const { stderr } = await server.stop();
  expect(stderr).toContain('what is new of cache counts only after a restart');
  expect(stderr).toContain('what is new of serve.index_dir counts only after a restart');
});
