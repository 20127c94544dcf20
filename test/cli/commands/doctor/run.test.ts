import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../../../src/nix/signature.ts';
import { FakeRegistry } from '../../../support/fake-registry.ts';
import { FAKE_USER } from '../../../support/fake-registry-auth.ts';
import { PROFILES } from '../../../support/fake-registry-faults.ts';
import { smallCache } from '../small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;

describe('doctor', () => {
  it('exits with 0 where nothing is wrong but what is only said', async () => {
    const { exitCode, stdout, stderr } = await nixcache(['doctor', '--json']);
    const { problems, findings } = JSON.parse(stdout);
    expect({ exitCode, problems }).toEqual({ exitCode: 0, problems: 0 });
    expect(findings.map(({ check }: { check: string }) => check)).toEqual([
      ...['nix', 'features', 'builders', 'cache', 'pull', 'push', 'index', 'age', 'key', 'signatures'],
      ...['upstream', 'proxy', 'trust', 'disk'],
    ]);
    expect(stderr).toContain('0 problems');
  });

  // Soon: a command that goes on trying is ended by `nixcache`, and has no exit code.
  it('exits with 4, soon and with a line for each part, where nothing can be reached', async () => {
    const { exitCode, stdout } = await nixcache(['doctor'], {
      ...{ NIXCACHE_CACHE: '127.0.0.1:1/team/cache', NIXCACHE_UPSTREAM: 'http://127.0.0.1:1', NIXCACHE_PORT: '1' },
      PATH: `${join(process.execPath, '..')}`,
    });
    expect(exitCode).toBe(4);
    for (const check of ['registry', 'upstream', 'proxy']) expect(stdout).toMatch(new RegExp(`PROBLEM ${check} `));
    expect(stdout).toMatch(/skipped clock .*also skipped: credentials, pull, public, push, index, age/);
  });

  it('makes a finding of settings that are wrong', async () => {
    const { exitCode, stdout } = await nixcache(['doctor'], {
      NIXCACHE_CACHE: 'docker://ghcr.io/x',
      NIXCACHE_UPSTREAM: 'x',
    });
    expect(exitCode).toBe(4);
    expect(stdout).toMatch(/PROBLEM cache +NIXCACHE_CACHE: /);
    expect(stdout).toMatch(/PROBLEM upstream /);
  });

  it('shows no secret, whatever it is told', async () => {
    const registry = await FakeRegistry.start(PROFILES.ghcr);
    onTestFinished(() => registry.close());
    const key = generateKey('secret-test-1');
    const secrets = [FAKE_USER.password, key.secret.split(':')[1] ?? '', 'upstream-s3cret'];
    const env = {
      NIXCACHE_CACHE: `${registry.host}/team/cache`,
      NIXCACHE_USERNAME: FAKE_USER.username,
      NIXCACHE_PASSWORD: FAKE_USER.password,
      NIXCACHE_SIGNING_KEY: key.secret,
      NIXCACHE_UPSTREAM: 'http://user:upstream-s3cret@127.0.0.1:1',
    };
    const args = [
      ['doctor', '--verbose'],
      ['doctor', '--json', '--verbose'],
    ];
    for (const { stdout, stderr, exitCode } of await Promise.all(args.map((each) => nixcache(each, env)))) {
      expect(exitCode).toBe(4); // the upstream
      for (const secret of secrets) expect(stdout + stderr).not.toContain(secret);
    }
  });

  it('wraps its lines on a narrow terminal', async () => {
    const { formatFinding } = await import('../../../../src/cli/commands/doctor/run.ts');
    const text = formatFinding(
      { check: 'trust', verdict: 'warning', message: 'a '.repeat(40).trim(), fix: 'do https://example.org/this' },
      30,
    );
    expect(text.split('\n')[0]).toBe('warning trust');
    expect(text.split('\n').every((line) => line.length <= 30)).toBe(true);
  });
});

it('help has examples', async () => {
  const { stdout } = await nixcache(['doctor', '--help']);
  expect(stdout).toMatch(/\nExamples:\n {2}# .*\n {2}\$ .*nixcache doctor/);
});
