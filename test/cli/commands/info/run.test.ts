import { describe, expect, it } from 'vitest';
import { baseNameFor } from '../../../support/cache-builder.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;

describe('info', () => {
  it('shows all about a path', async () => {
    const { stdout } = await nixcache(['info', 'libc']);
    expect(stdout).toMatch(new RegExp(`^/nix/store/${baseNameFor('libc')}\n`));
    expect(stdout).toMatch(/\n {2}gc +keeps it, since \S+-hello-2 is hello-2 of the newest publish, /);
  });

  it('reckons with the retention that is given', async () => {
    const { stdout } = await nixcache(['info', 'hello-2-doc', '--retain', '1d', '--json']);
    expect(JSON.parse(stdout).gc).toEqual({ verdict: 'dropped' });
    const kept = await nixcache(['info', 'hello-2-doc', '--retain', '1w', '--json']);
    expect(JSON.parse(kept.stdout).gc).toMatchObject({ verdict: 'kept', reason: { kind: 'pushed' } });
  });

  it('lists what may be meant, and exits with 2', async () => {
    const { stdout, stderr, exitCode } = await nixcache(['info', 'hel', '--json']);
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout).ambiguous).toEqual(
      ['hello-1', 'hello-2', 'hello-2-doc'].map((name) => `/nix/store/${baseNameFor(name)}`),
    );
    expect(stderr).toContain(baseNameFor('hello-2-doc'));
  });

  it('suggests names, and exits with 1', async () => {
    const { stderr, exitCode } = await nixcache(['info', 'helo']);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('did you mean hello-1?');
  });
});

it('help has examples', async () => {
  const { stdout } = await nixcache(['info', '--help']);
  expect(stdout).toMatch(/\nExamples:\n {2}# .*\n {2}\$ .*nixcache info/);
});
