/** In a job of GitHub Actions: what its log, its summary and its outputs get. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { nixcache } from '../support/e2e-cli.ts';
import { EXAMPLE, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { RealRegistry } from '../support/real-registry.ts';

const key = generateKey('github-1');
let nix: NixEnv;
let registry: RealRegistry;

beforeAll(async () => {
  [registry, nix] = await Promise.all([RealRegistry.start(), createNixEnv()]);
});
afterAll(() => Promise.all([registry.stop(), nix.cleanup()]));

const job = (name: string): Record<string, string> => ({
  ...nix.env,
  GITHUB_ACTIONS: 'true',
  CI: 'true',
  GITHUB_REPOSITORY: 'Owner/Repo',
  GITHUB_SERVER_URL: 'https://github.com',
  GITHUB_STEP_SUMMARY: join(nix.dir, `${name}-summary`),
  GITHUB_OUTPUT: join(nix.dir, `${name}-output`),
  GITHUB_TOKEN: 'ghs_onlyforgithub',
  NIXCACHE_REGISTRY: registry.host,
  NIX_SIGNING_KEY: key.secret,
});

/** The values of `name<<delimiter` blocks. */
async function stepOutputs(name: string): Promise<Readonly<Record<string, string>>> {
  const text = await readFile(join(nix.dir, `${name}-output`), 'utf8');
  return Object.fromEntries(
    [...text.matchAll(/^([\w-]+)<<(\S+)\n([\s\S]*?)\n\2$/gm)].map(([, key, , value]) => [key, value]),
  );
}

describe('a job', () => {
  it('publishes to the repository of its own, and tells of it', async () => {
    const { exitCode, stdout, stderr } = await nixcache(['publish', EXAMPLE, '--no-upstream'], { env: job('publish') });
    expect([exitCode, stdout]).toEqual([0, '']);
    const cache = `${registry.host}/owner/repo/nix-cache`;
    const tags = await fetch(`http://${registry.host}/v2/owner/repo/nix-cache/tags/list`);
    expect(await tags.json()).toMatchObject({ tags: expect.arrayContaining(['cache-index']) });

    const groups = [...stderr.matchAll(/^::(group|endgroup)::/gm)].map(([, kind]) => kind);
    expect(groups.length).toBeGreaterThan(4);
    expect(groups).toEqual(groups.map((_each, index) => (index % 2 === 0 ? 'group' : 'endgroup')));
    for (const unwanted of ['::error', '::warning', '\u001b', '\r']) expect(stderr).not.toContain(unwanted);
    expect(stderr).not.toContain('ghs_onlyforgithub');

    const summary = await readFile(join(nix.dir, 'publish-summary'), 'utf8');
    expect(summary).toContain(`### nixcache: ${cache}\n`);
    expect(summary).toContain('| pushed | 16 | 1.1 MiB |');
    expect(summary).toContain('| `nixosConfigurations.lighthouse` | x86_64-linux | built |');
    expect(summary).toContain(`extra-trusted-public-keys = ${key.public}`);
    expect(await stepOutputs('publish')).toMatchObject({
      ...{ cache, pushed: '16', 'failed-paths': '0', skipped: '0', built: '12', 'failed-outputs': '0' },
      ...{ 'public-keys': key.public, 'uploaded-bytes': expect.stringMatching(/^\d{5,7}$/) },
    });
  });

  it('annotates builds that fail, and goes on', async () => {
    const flake = await writeFlake(
      join(nix.dir, 'f'),
      '{ a = run "a" "echo a > $out"; b = run "b" "echo 50% of it; exit 1"; }',
    );
    const { exitCode, stderr } = await nixcache(['publish', flake, '--no-upstream'], { env: job('failing') });
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/^::(?:warning|error) title=nixcache::packages\.x86_64-linux\.b failed to build: /m);
    expect(stderr).toMatch(/^::warning title=nixcache::.*failed to build: .*%0A50%25 of it$/m);
    const summary = await readFile(join(nix.dir, 'failing-summary'), 'utf8');
    expect(summary).toMatch(/\*\*`packages\.x86_64-linux\.b` failed to build\*\*: .*\n\n```\n50% of it\n```/);
    expect(await stepOutputs('failing')).toMatchObject({ built: '1', 'failed-outputs': '1', pushed: '1' });
    expect(await readFile(join(nix.dir, 'failing-summary'), 'utf8')).toContain(
      '| `packages.x86_64-linux.b` | x86_64-linux | failed to build |',
    );
  });

  it('says where all see it that what it published is unsigned', async () => {
    const flake = await writeFlake(join(nix.dir, 'u'), '{ u = run "u" "echo u > $out"; }');
    const env = { ...job('unsigned'), NIX_SIGNING_KEY: '' };
    const cache = `oci:${join(nix.dir, 'unsigned')}`;
    const { exitCode, stderr } = await nixcache(['publish', flake, '--no-upstream', '--to', cache], { env });
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/^::warning title=nixcache::there is no signing key/m);
    expect(await readFile(join(nix.dir, 'unsigned-summary'), 'utf8')).toContain(
      '> [!WARNING]\n> There is no signing key',
    );

    const verified = await nixcache(['verify', '--cache', cache, '--no-upstream'], { env: job('verified') });
    expect(verified.stderr).toMatch(/^::warning title=nixcache::.*unsigned/m);
    const doctor = await nixcache(['doctor', '--cache', cache, '--no-upstream'], { env: job('doctor') });
    expect(doctor.stderr).toMatch(/^::warning title=nixcache::signatures: /m);
    expect(await readFile(join(nix.dir, 'doctor-summary'), 'utf8')).toMatch(/^\| warning \| signatures \| /m);
  });

  it('shows what stops it as an error, on one line', async () => {
    const { exitCode, stderr } = await nixcache(['publish', '/nowhere', '--no-upstream'], { env: job('stopped') });
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^::error title=nixcache::cannot read the flake '\/nowhere'.*$/m);
    const groups = [...stderr.matchAll(/^::(group|endgroup)::/gm)].map(([, kind]) => kind);
    expect(groups.filter((kind) => kind === 'group').length).toBe(groups.filter((kind) => kind === 'endgroup').length);
    expect(stderr.indexOf('::endgroup::')).toBeLessThan(stderr.indexOf('::error'));
  });

  it('gets a matrix with a runner for each system', async () => {
    const { exitCode, stdout } = await nixcache(['discover', EXAMPLE, '--matrix'], { env: job('matrix') });
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      include: [
        { system: 'aarch64-linux', runner: 'ubuntu-24.04-arm' },
        { system: 'x86_64-linux', runner: 'ubuntu-latest' },
      ],
    });
    expect(JSON.parse((await stepOutputs('matrix'))['matrix'] ?? '')).toEqual(JSON.parse(stdout));
  });
});
