import { describe, expect, it } from 'vitest';
import { hashPartFor } from '../../../support/cache-builder.ts';
import { startCli } from '../../run-cli.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();

describe('serve', () => {
  it('says first where it is, answers, and ends with a signal', async () => {
    const env = { HOME: cache.home, NIXCACHE_CACHE: cache.reference, NIXCACHE_UPSTREAM: '' };
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
  });

  it.each([
    [['--disk-cache', '1G'], 'a disk cache'],
    [['--redirect'], 'redirects'],
    [['--read-token-file', 'token'], 'tokens for readers'],
    [['--upload-token-file', 'token'], 'uploads'],
  ])('refuses %j, which this version has not', async (args, what) => {
    const { exitCode, stderr } = await cache.nixcache(['serve', '--port', '0', ...args]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringContaining(`cannot do what is configured (${what})`),
    });
  });
});
