import { describe, expect, it } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import type { DeletionReport } from '../../src/gc/deleter.ts';
import { GithubPackagesDeleter } from '../../src/github/packages-deleter.ts';
import { FAKE_GITHUB_TOKEN, secondaryLimit } from '../support/fake-github.ts';
import { openGithub } from './open-github.ts';

const VERSION = /\/versions\/\d+$/;
const LISTING = /\/versions\?/;

const reasons = ({ failed }: DeletionReport): readonly (readonly [string, string])[] =>
  failed.map(({ tag, error }) => [tag, error.message]);
const names = (count: number, prefix = 't'): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

describe('deletes manifests as versions of the package', () => {
  it.each(['Organization', 'User'] as const)('of an owner that is a GitHub %s', async (type) => {
    const { github, repository, openDeleter, pushTags } = await openGithub({ owner: { login: 'Octo-Org', type } });
    const [a, b] = await pushTags('a', 'b', 'kept');
    const progress: number[] = [];
    const report = await openDeleter().deleteManifests(
      [a, b].flatMap((each) => each ?? []),
      {
        onProgress: (done) => progress.push(done),
      },
    );
    expect(report).toEqual({ deleted: ['a', 'b'], failed: [], stopped: undefined });
    expect(progress).toEqual([1, 2]);
    expect((await repository.listTags()).sort()).toEqual(['kept']);
    expect(github.count('GET', /repo%2Fnix-cache$/)).toBe(type === 'User' ? 2 : 1);
  });

  it('of the user whose token it is, when no one else may see the package', async () => {
    const { github, openDeleter, pushTags } = await openGithub({
      owner: { login: 'Octo-Org', type: 'User' },
      tokens: { [FAKE_GITHUB_TOKEN]: { login: 'Octo-Org', reads: true, deletes: true } },
    });
    const [a] = await pushTags('a', 'kept');
    github.inject({ path: /^\/users\//, act: { type: 'answer', status: 404, body: '{"message":"Not Found"}' } });
    expect((await openDeleter().deleteManifests(a ? [a] : [])).deleted).toEqual(['a']);
    expect(github.count('DELETE', /^\/user\/packages/, 204)).toBe(1);
  });

  it("never in the token owner's own package of the same name", async () => {
    const { github, repository, openDeleter, pushTags } = await openGithub();
    const list = await pushTags('a', 'kept');
    const absent = { type: 'answer', status: 404, body: '{"message":"Not Found"}' } as const;
    const other = { type: 'answer', status: 200, body: '{"owner":{"login":"somebody-else"}}' } as const;
    github.inject({ path: /^\/(orgs|users)\//, times: 2, act: absent });
    github.inject({ path: /^\/user\//, act: other });
    const report = await openDeleter().deleteManifests(list);
    expect(report.deleted).toEqual([]);
    expect(report.failed[0]?.error).toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(github.count('GET', LISTING)).toBe(0);
    expect(await repository.listTags()).toHaveLength(2);
  });

  it('finds them on any page, by one listing for all batches', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const list = await pushTags(...names(230));
    const deleter = openDeleter();
    const unneeded = [list[0], list[100], list[229]].flatMap((each) => each ?? []);
    expect((await deleter.deleteManifests(unneeded)).deleted).toEqual(['t0', 't100', 't229']);
    expect((await deleter.deleteManifests(list.slice(1, 4))).deleted).toEqual(['t1', 't2', 't3']);
    expect(github.count('GET', LISTING)).toBe(3);
    expect(github.count('DELETE', VERSION, 204)).toBe(6);
  });

  it('takes for gone what somebody else deletes meanwhile', async () => {
    const { github, repository, openDeleter, pushTags } = await openGithub();
    const list = await pushTags('a', 'b', 'kept');
    const ids = list.map(({ tag }) => github.package.idOfTag(tag));
    github.onRequest = (method, path) => {
      if (method === 'GET' && path.endsWith(`/versions/${ids[0]}`)) github.package.delete(ids[0] ?? 0, NO_HARM);
      if (method === 'DELETE' && path.endsWith(`/versions/${ids[1]}`)) github.package.delete(ids[1] ?? 0, NO_HARM);
    };
    expect(await openDeleter().deleteManifests(list.slice(0, 2))).toMatchObject({ deleted: ['a', 'b'], failed: [] });
    expect(await repository.listTags()).toEqual(['kept']);
  });

  it('is done when only the answer to a deletion is lost', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const [a] = await pushTags('a', 'kept');
    github.inject({ method: 'DELETE', act: { type: 'lose-answer' } });
    expect((await openDeleter().deleteManifests(a ? [a] : [])).deleted).toEqual(['a']);
    expect(github.package.deleted).toHaveLength(1);
  });

  it('survives GitHub failing now and then', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const list = await pushTags('a', 'b', 'kept');
    github.inject({ path: LISTING, times: 2, act: { type: 'answer', status: 502, body: 'no' } });
    github.inject({ method: 'DELETE', act: { type: 'answer', status: 500, body: '{"message":"Server Error"}' } });
    github.inject({ method: 'GET', path: VERSION, act: { type: 'reset' } });
    expect((await openDeleter().deleteManifests(list.slice(0, 2))).deleted).toEqual(['a', 'b']);
  });
});

const NO_HARM = { takesSharedBlobs: false };

describe('leaves alone, and reports, what is not as gc planned', () => {
  it('when a tag was added', async () => {
    const { github, registry, repository, openDeleter, pushTags } = await openGithub();
    const list = await pushTags('a', 'b', 'kept');
    github.onRequest = (_, path) => {
      if (LISTING.test(path)) registry.repository('octo-org/repo/nix-cache').tags.set('mine', list[0]?.digest ?? '');
    };
    const report = await openDeleter().deleteManifests(list.slice(0, 2));
    expect(report.deleted).toEqual(['b']);
    expect(reasons(report)).toEqual([['a', expect.stringMatching(/left as it is.*changed.*a, mine/)]]);
    expect(await repository.listTags()).toEqual(expect.arrayContaining(['a', 'mine']));
  });

  it('when its tag moved away', async () => {
    const { registry, repository, openDeleter, pushTags } = await openGithub();
    const [a] = await pushTags('a', 'kept');
    registry.repository('octo-org/repo/nix-cache').tags.delete('a');
    const report = await openDeleter().deleteManifests(a ? [a] : []);
    expect(reasons(report)).toEqual([['a', expect.stringContaining('tagged with nothing')]]);
    expect(await repository.fetchManifest(a?.digest ?? '')).toBeDefined();
  });

  it('when it carries cache-index, whatever was planned', async () => {
    const { repository, openDeleter, pushTags } = await openGithub();
    const report = await openDeleter().deleteManifests((await pushTags('cache-index', 'kept')).slice(0, 1));
    expect(report.deleted).toEqual([]);
    expect(await repository.resolve('cache-index')).toBeDefined();
  });

  it('when its number is of another manifest', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const [a] = await pushTags('a', 'kept');
    const body = JSON.stringify({ id: 1, name: 'sha256:other', metadata: { container: { tags: ['a'] } } });
    github.inject({ path: VERSION, act: { type: 'answer', status: 200, body } });
    expect((await openDeleter().deleteManifests(a ? [a] : [])).deleted).toEqual([]);
    expect(github.count('DELETE')).toBe(0);
  });

  it('when the listing lacks it', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const [a] = await pushTags('a', 'kept');
    github.inject({ path: LISTING, act: { type: 'answer', status: 200, body: '[]' } });
    const report = await openDeleter().deleteManifests(a ? [a] : []);
    expect(reasons(report)).toEqual([['a', expect.stringContaining('does not list it')]]);
  });

  it('and goes on with the others, however many those are', async () => {
    const { github, registry, openDeleter, pushTags } = await openGithub();
    const list = await pushTags(...names(8), 'kept');
    github.onRequest = (_, path) => {
      const { tags } = registry.repository('octo-org/repo/nix-cache');
      if (LISTING.test(path)) for (const { tag, digest } of list.slice(0, 5)) tags.set(`${tag}-mine`, digest);
    };
    expect((await openDeleter().deleteManifests(list.slice(0, 8))).deleted).toEqual(['t5', 't6', 't7']);
  });
});

describe('reports refusals with what to do', () => {
  it('the last tagged version', async () => {
    const { openDeleter, pushTags } = await openGithub();
    const report = await openDeleter().deleteManifests(await pushTags('a'));
    expect(reasons(report)).toEqual([['a', expect.stringMatching(/last tagged version.*whole package/)]]);
    expect(report.stopped).toBeUndefined();
  });

  it('a public version that was downloaded more than 5000 times, and goes on', async () => {
    const { github, openDeleter, pushTags } = await openGithub({ visibility: 'public' });
    const list = await pushTags('popular', 'b', 'kept');
    github.package.setDownloads(github.package.idOfTag('popular'), 5001);
    const report = await openDeleter().deleteManifests(list.slice(0, 2));
    expect(report.deleted).toEqual(['b']);
    expect(reasons(report)).toEqual([['popular', expect.stringMatching(/5000 downloads.*support of GitHub/)]]);
  });

  it.each([
    ['a token that may read only', { reads: true, deletes: false }],
    ['a token that may not even know', { reads: true, deletes: 'hidden' }],
    ['a token that may not read', { reads: false, deletes: false }],
  ] as const)('%s: once, and tries no further', async (_, rights) => {
    const { github, openDeleter, pushTags } = await openGithub({ tokens: { [FAKE_GITHUB_TOKEN]: rights } });
    const list = await pushTags('a', 'b', 'c', 'kept');
    const report = await openDeleter().deleteManifests(list.slice(0, 3));
    expect(report.deleted).toEqual([]);
    expect(new Set(report.failed.map(({ error }) => error.message)).size).toBe(1);
    expect(report.stopped).toMatchObject({ code: 'ERR_FORBIDDEN' });
    expect(report.stopped?.message).toMatch(
      /permissions: packages: write.*Admin under Manage Actions access on https:\/\/github\.com\/orgs\/octo-org\/packages\/container\/repo%2Fnix-cache\/settings.*delete:packages/,
    );
    expect(github.count('DELETE')).toBeLessThanOrEqual(1);
  });

  it('a token that is none', async () => {
    const { openDeleter, pushTags } = await openGithub();
    const report = await openDeleter({ token: 'ghp_nonsense' }).deleteManifests(await pushTags('a', 'b'));
    expect(report.failed).toHaveLength(2);
    expect(report.stopped).toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      message: expect.stringContaining('GITHUB_TOKEN'),
    });
  });

  it('no token at all, without asking GitHub', async () => {
    const { github, pushTags } = await openGithub();
    const deleter = new GithubPackagesDeleter({ api: undefined, package: { owner: 'octo-org', name: 'repo' } });
    const report = await deleter.deleteManifests(await pushTags('a', 'b'));
    expect(reasons(report).map(([tag]) => tag)).toEqual(['a', 'b']);
    expect(report.stopped?.message).toMatch(/set GITHUB_TOKEN.*packages: write.*delete:packages/);
    expect(github.requests).toEqual([]);
  });

  it('a package that is not there', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    github.traits = { ...github.traits, owner: { login: 'Somebody', type: 'User' } };
    const report = await openDeleter().deleteManifests(await pushTags('a'));
    expect(report.stopped).toMatchObject({ code: 'ERR_NOT_FOUND', message: expect.stringContaining('may not see it') });
  });

  it('an API that is no API of GitHub', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    github.inject({ times: 9, act: { type: 'answer', status: 200, body: '{"hello":1}' } });
    const report = await openDeleter().deleteManifests(await pushTags('a'));
    expect(report.stopped?.message).toMatch(/is GITHUB_API_URL right/);
  });

  it('never with the token in it, nor in the errors below', async () => {
    const { github, openDeleter, pushTags } = await openGithub({
      tokens: { [FAKE_GITHUB_TOKEN]: { reads: true, deletes: false } },
    });
    const list = await pushTags('a', 'kept');
    const broken = await openDeleter({ url: 'http://127.0.0.1:1' }).deleteManifests(list);
    const denied = await openDeleter().deleteManifests(list);
    github.inject({ times: 30, act: { type: 'answer', status: 500, body: '{"message":"oops"}' } });
    const failing = await openDeleter().deleteManifests(list);
    for (const { failed } of [broken, denied, failing]) {
      expect(failed).toHaveLength(2);
      for (const { error } of failed) expect(everythingIn(error)).not.toContain(FAKE_GITHUB_TOKEN);
    }
  });
});

/** All that logging an error could show. */
function everythingIn(error: unknown): string {
  const parts: unknown[] = [];
  for (let at = error; at instanceof Error; at = at.cause) parts.push(at.message, at.stack, { ...at });
  return JSON.stringify(parts);
}

describe("keeps to GitHub's limits", () => {
  it.each([403, 429] as const)('waits as long as a secondary limit says (%i), and goes on', async (status) => {
    const { github, waits, openDeleter, pushTags } = await openGithub();
    const list = await pushTags('a', 'b', 'kept');
    github.inject({ method: 'DELETE', act: secondaryLimit(status, 7) });
    github.inject({ path: LISTING, act: secondaryLimit(status, 5) });
    expect((await openDeleter().deleteManifests(list.slice(0, 2))).deleted).toEqual(['a', 'b']);
    expect(waits).toEqual([5, 7]);
  });

  it('does not wait for ever', async () => {
    const { github, waits, openDeleter, pushTags } = await openGithub();
    const list = await pushTags('a', 'b', 'kept');
    github.inject({ method: 'DELETE', times: 99, act: secondaryLimit(403, 250) });
    const report = await openDeleter().deleteManifests(list.slice(0, 2));
    expect(waits).toEqual([250, 250]);
    expect(report.failed).toHaveLength(2);
    expect(report.stopped?.message).toMatch(/secondary rate limit.*next gc/);
    expect(github.count('DELETE')).toBe(3);
  });

  it('takes a 429 in other words for a limit too, and does not insist', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const body = '{"message":"Too Many Requests"}';
    github.inject({ path: LISTING, times: 9, act: { type: 'answer', status: 429, body } });
    const report = await openDeleter().deleteManifests(await pushTags('a', 'b'));
    expect(report.stopped).toMatchObject({ kind: 'secondary-limit' });
    expect(github.count('GET', LISTING)).toBe(1);
  });

  it('stops before the budget of the hour ends, and goes on in the next', async () => {
    let now = Date.parse('2026-11-20T12:00:00Z');
    const { github, repository, openDeleter, pushTags } = await openGithub({ hourlyLimit: 50, now: () => now });
    const list = await pushTags(...names(30), 'kept');
    const unneeded = list.slice(0, 30);
    const first = await openDeleter().deleteManifests(unneeded);
    expect(first.deleted.length).toBeGreaterThan(5);
    expect(first.failed).toHaveLength(30 - first.deleted.length);
    expect(first.stopped?.message).toMatch(/requests.*are left.*after 2026-11-20T13:00:00\.000Z/);
    expect(github.requests.length).toBeLessThanOrEqual(25); // 25 are left to others
    const left = unneeded.filter(({ tag }) => !first.deleted.includes(tag));
    now += 61 * 60 * 1000;
    const second = await openDeleter().deleteManifests(left);
    expect(second.deleted.length).toBeGreaterThan(5);
    expect(await repository.listTags()).toHaveLength(31 - first.deleted.length - second.deleted.length);
  });

  it('stops at once when the budget is used up by others, and does not wait for an hour', async () => {
    const { github, waits, openDeleter, pushTags } = await openGithub({ hourlyLimit: 0 });
    const report = await openDeleter().deleteManifests(await pushTags('a', 'b'));
    expect(report.stopped).toMatchObject({ kind: 'rate-limit' });
    expect(report.failed).toHaveLength(2);
    expect(waits).toEqual([]);
    expect(github.requests).toHaveLength(1);
  });

  it('stops after three failures in a row', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const list = await pushTags(...names(6), 'kept');
    github.inject({ method: 'DELETE', times: 99, act: { type: 'answer', status: 503, body: '{"message":"down"}' } });
    const report = await openDeleter().deleteManifests(list.slice(0, 6));
    expect(report.failed).toHaveLength(6);
    expect(report.stopped?.message).toMatch(/503 \(down\)/);
    expect(github.count('GET', VERSION)).toBe(3);
  });
});

describe('ends at once when it is interrupted', () => {
  const stop = (): NixcacheError => new NixcacheError('ERR_INTERRUPTED', 'stopped');

  it('before, and between two versions', async () => {
    const { github, openDeleter, pushTags } = await openGithub();
    const list = await pushTags('a', 'b', 'kept');
    const deleter = openDeleter();
    await expect(deleter.deleteManifests(list, { signal: AbortSignal.abort(stop()) })).rejects.toThrow('stopped');
    expect(github.requests).toEqual([]);
    const controller = new AbortController();
    const onProgress = (): void => controller.abort(stop());
    await expect(deleter.deleteManifests(list, { signal: controller.signal, onProgress })).rejects.toMatchObject({
      code: 'ERR_INTERRUPTED',
    });
    expect(github.package.deleted).toHaveLength(1);
  });

  it('while GitHub makes it wait, and while it does not answer', async () => {
    const { github, http, pushTags } = await openGithub();
    const { GithubApi } = await import('../../src/github/api.ts');
    const list = await pushTags('a', 'kept');
    for (const act of [secondaryLimit(429, 300), { type: 'answer', status: 500, body: '{}' } as const]) {
      const controller = new AbortController();
      github.inject({ path: LISTING, act });
      let asked = 0;
      github.onRequest = (_, path) => {
        if (!LISTING.test(path)) return;
        asked++;
        setTimeout(() => controller.abort(stop()), 30);
      };
      const deleter = new GithubPackagesDeleter({
        api: new GithubApi({ url: new URL(github.url), token: FAKE_GITHUB_TOKEN, http }),
        package: { owner: 'octo-org', name: 'repo/nix-cache' },
      });
      await expect(deleter.deleteManifests(list, { signal: controller.signal })).rejects.toThrow('stopped');
      expect(asked).toBe(1);
    }
    expect(github.package.deleted).toEqual([]);
  });
});

it('does not follow a page to another host with the token', async () => {
  const { github, openDeleter, pushTags } = await openGithub();
  const link = '<http://127.0.0.2:9/steal?page=2>; rel="next"';
  github.inject({ path: LISTING, act: { type: 'answer', status: 200, body: '[]', headers: { link } } });
  const report = await openDeleter().deleteManifests(await pushTags('a'));
  expect(report.stopped).toMatchObject({ code: 'ERR_NETWORK', message: expect.stringContaining('leads on to') });
});

it('does not take a redirected deletion for a deletion', async () => {
  const { github, openDeleter, pushTags } = await openGithub();
  const [a] = await pushTags('a', 'kept');
  github.inject({ method: 'DELETE', act: { type: 'answer', status: 307, headers: { location: `${github.url}/x` } } });
  const report = await openDeleter().deleteManifests(a ? [a] : []);
  expect(report.deleted).toEqual([]);
  expect(reasons(report)).toEqual([['a', expect.stringContaining('redirected')]]);
});

it('says how to restore what it deleted', async () => {
  const { github, openDeleter, pushTags } = await openGithub();
  const list = await pushTags('a', 'b', 'kept');
  const ids = list.map(({ tag }) => github.package.idOfTag(tag));
  const deleter = openDeleter();
  await deleter.deleteManifests(list.slice(0, 2));
  expect(deleter.restoreAdvice(['a', 'b'])).toBe(
    `GitHub restores deleted versions for 30 days: POST ${github.url}/orgs/octo-org/packages/container/repo%2Fnix-cache/versions/{id}/restore ` +
      `with each of the ids ${ids[0]}, ${ids[1]}, for example: gh api -X POST ${github.url}/orgs/octo-org/packages/container/repo%2Fnix-cache/versions/${ids[1]}/restore`,
  );
});
