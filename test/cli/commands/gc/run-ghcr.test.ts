/** What a person and a script are told by `nixcache gc` of a cache on GHCR. */
import { describe, expect, it } from 'vitest';
import { type OpenGithub, openGithub, REPOSITORY } from '../../../github/open-github.ts';
import { CacheBuilder, namesIn } from '../../../support/cache-builder.ts';
import { FAKE_GITHUB_TOKEN, type FakeGithubTraits } from '../../../support/fake-github.ts';
import { FAKE_USER } from '../../../support/fake-registry-auth.ts';
import { tempDir } from '../../../support/temp-dir.ts';
import { type CliResult, runCli } from '../../run-cli.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const daysAgo = (days: number): Date => new Date(Date.now() - days * DAY_MS);

interface OpenCli extends OpenGithub {
  readonly cache: CacheBuilder;
  gc(args?: readonly string[], env?: Readonly<Record<string, string>>): Promise<CliResult>;
}

/** A cache of three publishes, two of them long ago, and the command line for it. */
async function openCli(traits: Partial<FakeGithubTraits> = {}): Promise<OpenCli> {
  const opened = await openGithub(traits);
  const cache = new CacheBuilder(opened.repository);
  await cache.publish({ at: daysAgo(90), paths: ['lib', { name: 'app-1', references: ['lib'] }], roots: ['app-1'] });
  await cache.publish({ at: daysAgo(80), paths: ['app-2'], roots: ['app-2'] });
  await cache.publish({ at: daysAgo(2), paths: [{ name: 'app-3', references: ['lib'] }], roots: ['app-3'] });
  const home = await tempDir();
  const gc: OpenCli['gc'] = (args = [], env = {}) =>
    runCli(['gc', '--cache', `${opened.registry.host}/${REPOSITORY}`, ...args], {
      env: {
        ...{ HOME: home, XDG_CACHE_HOME: home, NIXCACHE_REGISTRY_KIND: 'ghcr', GITHUB_API_URL: opened.github.url },
        ...{ NIXCACHE_USERNAME: FAKE_USER.username, NIXCACHE_PASSWORD: FAKE_USER.password },
        GITHUB_TOKEN: FAKE_GITHUB_TOKEN,
        ...env,
      },
    });
  return { ...opened, cache, gc };
}

describe('nixcache gc on GHCR tells', () => {
  it('what waits for the grace period and until when, and asks GitHub for nothing yet', async () => {
    const { github, gc, repository } = await openCli();
    const result = await gc(['--retain', '30d', '--grace', '24h']);
    expect(result).toMatchObject({ exitCode: 0, stdout: '' });
    expect(result.stderr).toMatch(/dropped 2 paths \([^)]+\) from .*nix-cache; kept 2 paths/);
    expect(result.stderr).toMatch(/3 manifests wait for the end of the grace period, 20\d\d-.* UTC; run gc again then/);
    expect(github.requests).toEqual([]);
    const again = JSON.parse((await gc(['--grace', '24h', '--json'])).stdout);
    expect(again.waiting.manifests).toBe(3);
    expect(Date.parse(again.waiting.until) - Date.now()).toBeGreaterThan(0.9 * DAY_MS);
    expect(await namesIn(repository)).toEqual(['app-3', 'lib']);
  });

  it('what it freed and what it keeps and why, to people and to scripts', async () => {
    const { github, gc, repository, cache } = await openCli();
    const before = github.package.storedBytes();
    const first = await gc(['--grace', '0s', '--json']);
    const report = JSON.parse(first.stdout);
    expect(report).toMatchObject({
      ...{ kept: { entries: 2 }, dropped: { entries: 2 }, deletedManifests: 3, notFreed: [] },
      waiting: { manifests: 0 },
    });
    expect(report.roots.kept.map(({ name }: { readonly name: string }) => name)).toEqual(['app-3']);
    expect(report.roots.expired.map(({ name }: { readonly name: string }) => name)).toEqual(['app-1', 'app-2']);
    expect(report.keptBecause).toMatchObject([{ reason: { kind: 'newest-publish', name: 'app-3' } }]);
    expect(first.stderr).toMatch(/deleted 3 manifests/);
    expect(first.stderr).toMatch(/kept for 1 root of newest publishes/);
    expect(first.exitCode).toBe(0);
    expect(github.package.storedBytes()).toBeLessThan(before);
    await cache.expectReadable(['app-3', 'lib']);
    expect(await namesIn(repository)).toEqual(['app-3', 'lib']);
  });

  it('what --keep-last keeps', async () => {
    const { gc } = await openCli();
    const { stdout, stderr } = await gc(['--keep-last', '1', '--dry-run', '--json']);
    const report = JSON.parse(stdout);
    expect(stderr).toMatch(/kept for 1 root of newest publishes, 2 roots by --keep-last/);
    expect(report).toMatchObject({ dropped: { entries: 0 }, roots: { expired: [] } });
    expect(report.roots.kept).toHaveLength(3);
  });

  it('what it could not free and why, and is done all the same', async () => {
    const { gc, repository } = await openCli({ tokens: { [FAKE_GITHUB_TOKEN]: { reads: true, deletes: false } } });
    const result = await gc(['--grace', '0s', '--json']);
    expect(result.exitCode).toBe(0);
    expect(result.stderr).toMatch(/3 manifests could not be deleted: .*Manage Actions access/);
    const { notFreed, dropped } = JSON.parse(result.stdout);
    expect(notFreed).toMatchObject([{ reason: expect.stringContaining('packages: write'), tags: { length: 3 } }]);
    expect(dropped.entries).toBe(2);
    expect(await namesIn(repository)).toEqual(['app-3', 'lib']);
  });

  it('a summary and outputs to GitHub Actions, with what was not freed', async () => {
    const { gc } = await openCli({ tokens: {} });
    const directory = await tempDir();
    const summary = `${directory}/summary`;
    await gc(['--grace', '0s'], { GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: summary });
    const { readFile } = await import('node:fs/promises');
    expect(await readFile(summary, 'utf8')).toMatch(
      /Kept for 1 root of newest publishes.*3 manifests could not be deleted.*GITHUB\\_TOKEN/s,
    );
  });
});

describe('nixcache gc on GHCR takes its token', () => {
  it('from the password of the registry when there is no other', async () => {
    const { github, gc } = await openCli({ tokens: { [FAKE_USER.password]: { reads: true, deletes: true } } });
    const result = await gc(['--grace', '0s', '--json'], { GITHUB_TOKEN: '' });
    expect(JSON.parse(result.stdout)).toMatchObject({ deletedManifests: 3 });
    expect(github.package.deleted).toHaveLength(3);
  });

  it('and without one for that API does everything else, and says what is missing', async () => {
    const { gc, repository } = await openCli();
    const result = await gc(['--grace', '0s', '--json'], {
      GITHUB_TOKEN: '',
      GITHUB_API_URL: 'https://api.github.com',
    });
    expect(result.exitCode).toBe(0);
    const { notFreed, dropped } = JSON.parse(result.stdout);
    expect(dropped.entries).toBe(2);
    expect(notFreed).toMatchObject([{ reason: expect.stringMatching(/set GITHUB_TOKEN/), tags: { length: 3 } }]);
    expect(await namesIn(repository)).toEqual(['app-3', 'lib']);
  });

  it('and shows it nowhere, whatever goes wrong', async () => {
    const { github, gc } = await openCli();
    github.inject({ times: 9, act: { type: 'answer', status: 403, body: `{"message":"no, ${FAKE_GITHUB_TOKEN}"}` } });
    const { stdout, stderr, exitCode } = await gc(['--grace', '0s', '--json', '--verbose']);
    expect(exitCode).toBe(0);
    expect(stderr).toContain('could not be deleted');
    for (const secret of [FAKE_GITHUB_TOKEN, FAKE_USER.password]) expect(stdout + stderr).not.toContain(secret);
  });

  it('only to an API that it may be sent to', async () => {
    const { gc } = await openCli();
    const result = await gc([], { GITHUB_API_URL: 'http://api.example' });
    expect(result).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('GITHUB_API_URL') });
  });
});

it('fails loudly when deleting harms what is kept', async () => {
  const { github, gc } = await openCli({ takesSharedBlobs: true });
  const { exitCode, stderr } = await gc(['--grace', '0s', '--verbose']);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/gc stopped deleting: blob sha256:.*is gone after 3 manifests.*POST .*restore/);
  for (const id of github.package.deleted) expect(stderr).toContain(`deleted package version ${id}`);
});
