/** Asked for something that is not there, no command passes as healthy: it says so, and does not exit with 0. */
import { describe, expect, it } from 'vitest';
import { smallCache } from './commands/small-cache.ts';
import { runCli, startCli } from './run-cli.ts';

const cache = smallCache();
const { nixcache } = cache;

describe('a cache that is not there', () => {
  it.each([
    [['verify']],
    [['list']],
    [['list', '--entries']],
    [['list', '--roots']],
    [['list', '--pins']],
    [['info', 'hello']],
    [['gc']],
    [['gc', '--dry-run']],
    [['pin', '--list']],
    [['pin', '--remove', 'stable']],
    [['pin', '--history', 'stable']],
    [['pin', 'stable', 'hello']],
  ])('%j', async (args) => {
    const result = await nixcache([...args, '--cache', 'oci:/nonexistent/cache']);
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toMatch(/there is no cache at oci:\/nonexistent\/cache: .*is the reference right\?/);
    // Nothing is told as done to it before that, nor after it.
    expect(result.stderr.replace(/^reading the cache\n/, '')).toMatch(/^nixcache: there is no cache at [^\n]*$/);
  });

  it('copy', async () => {
    const { exitCode, stderr } = await nixcache(['copy', 'oci:/nonexistent/cache', `oci:${cache.home}/copy`]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('there is no cache at oci:/nonexistent/cache');
  });
});

describe('something that a cache does not have', () => {
  it.each([
    [['list', 'zzz*'], "no root or pin that matches 'zzz*'"],
    [['list', '--roots', 'zzz*'], "no root that matches 'zzz*'"],
    [['list', '--pins', 'zzz*'], "no pin that matches 'zzz*'"],
    [['list', '--entries', 'zzz*'], "no entry that matches 'zzz*'"],
    [['info', 'nope'], 'no such path, root or pin'],
    [['pin', '--remove', 'nope'], 'has no pins'],
    [['pin', '--history', 'nope'], 'has no pins'],
    [['pin', 'stable', 'nope'], 'no such path, root or pin'],
  ])('%j', async (args, said) => {
    const result = await nixcache(args);
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toContain(said);
  });

  it('names the pins there are to who asks for another', async () => {
    await nixcache(['pin', 'stable', 'hello-2']);
    const { stderr } = await nixcache(['pin', '--remove', 'stabel']);
    expect(stderr).toContain('has no such pin, but stable');
  });
});

it('serve says what is not there, in its log and in /_status', async () => {
  const env = { HOME: cache.home, XDG_CACHE_HOME: `${cache.home}/served` };
  const args = ['serve', '--port', '0', '--no-upstream', '--from', 'oci:/nonexistent/cache'];
  await using serving = await startCli(args, { env }, { stream: 'stderr', text: 'is served until' });
  serving.signal('SIGTERM');
  const { stderr } = await serving.result;
  expect(stderr).toMatch(
    /nothing was published to oci:\/nonexistent\/cache yet.*: nothing is served until something is/,
  );
  expect(stderr).not.toContain('the last one is served');
});

it('a slip in the name of a system', async () => {
  const { exitCode, stderr } = await runCli(['publish', '/nowhere', '--system', 'amd64-linux'], {
    env: { HOME: cache.home },
  });
  expect(exitCode).toBe(2);
  expect(stderr).toContain("did you mean 'x86_64-linux'?");
});
