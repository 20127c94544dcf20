import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hashPartFor } from '../../../support/cache-builder.ts';
import { tempDir } from '../../../support/temp-dir.ts';
import { startCli } from '../../run-cli.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();

describe('serve', () => {
  it('says first where it is, answers, and ends with a signal', async () => {
    const env = { HOME: cache.home, NIXCACHE_CACHE: cache.reference, NIXCACHE_UPSTREAM: 'none' };
    await using server = await startCli(['serve', '--port', '0', '--json', '--verbose'], { cwd: cache.home, env });
    const { url, cache: name } = JSON.parse(server.firstLine);
    expect([url, name]).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/), cache.reference]);
    expect((await fetch(`${url}/nix-cache-info`)).status).toBe(200);
    expect(await (await fetch(`${url}/${hashPartFor('hello-1')}.narinfo`)).text()).toMatch(/^StorePath: .*-hello-1\n/);
    expect((await fetch(`${url}/${'0'.repeat(32)}.narinfo`)).status).toBe(404);
    server.signal('SIGTERM');
    const { stderr } = await server.result;
    expect(stderr).toContain(`serving ${cache.reference}; Ctrl-C stops`);
    expect(stderr).toMatch(/index: 4 entries, 2 new segments/);
    expect(stderr).toMatch(/GET \/0{32}\.narinfo 404 /);
    expect(stderr).toContain(`\n  extra-substituters = ${url}\n`);
  });

  it('logs in JSON when that is wanted, whatever a client sends', async () => {
    const env = { HOME: cache.home, NIXCACHE_CACHE: cache.reference, NIXCACHE_UPSTREAM: '' };
    const args = ['serve', '--port', '0', '--log-format', 'json', '--log-requests'];
    await using server = await startCli(args, { cwd: cache.home, env });
    const headers = { 'x-request-id': 'mine-1' };
    expect((await fetch(`${server.firstLine}/a%0ab?token=abc"}`, { headers })).headers.get('x-request-id')).toBe(
      'mine-1',
    );
    server.signal('SIGTERM');
    const { stderr } = await server.result;
    const records = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(records).toContainEqual(expect.objectContaining({ event: 'index', entries: 4, level: 'info' }));
    expect(records).toContainEqual(
      expect.objectContaining({ event: 'request', id: 'mine-1', status: 404, method: 'GET', client: '127.0.0.1' }),
    );
    expect(stderr).not.toContain('abc');
  });

  it('listens though its registry says nothing, and ends when it is told to', async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const env = { HOME: await tempDir(), NIXCACHE_UPSTREAM: 'none' };
    const from = `127.0.0.1:${(silent.address() as AddressInfo).port}/st/cache`;
    await using server = await startCli(['serve', '--port', '0', '--from', from], { cwd: cache.home, env });
    expect((await fetch(`${server.firstLine}/nix-cache-info`)).status).toBe(200);
    expect(await (await fetch(`${server.firstLine}/_status`)).json()).toMatchObject({ index: { state: 'unread' } });
    server.signal('SIGTERM');
    const { exitCode, stderr } = await server.result;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.not.stringContaining('not stopped') });
  });
});
