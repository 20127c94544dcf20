import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { checkRegistry, type RegistryCheckOptions, type StoreFindings } from '../../src/doctor/check-registry.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { FAKE_USER } from '../support/fake-registry-auth.ts';
import { type FakeRegistryTraits, PROFILES } from '../support/fake-registry-faults.ts';
import { day } from '../support/gc-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const NO_FILES = { HOME: '/nonexistent' };

interface SetUp {
  readonly registry: FakeRegistry;
  readonly http: HttpClient;
  check(options?: Partial<RegistryCheckOptions>): Promise<StoreFindings>;
}

async function setUp(traits: Partial<FakeRegistryTraits>, isPublished = true): Promise<SetUp> {
  const registry = await FakeRegistry.start(traits);
  const http = new HttpClient();
  onTestFinished(async () => {
    await http.destroy();
    await registry.close(); // fails if the doctor misbehaved
  });
  const { host } = registry;
  const reference = { kind: 'registry', host, repository: 'team/cache' } as const;
  if (isPublished) {
    const credentials = async () => ({ type: 'basic', ...FAKE_USER }) as const;
    const store = new RemoteRepository({ host, repository: 'team/cache', http, credentials });
    await new CacheBuilder(store).publish({ at: day(0), paths: ['a'] });
  }
  const check = (options: Partial<RegistryCheckOptions> = {}) =>
    checkRegistry({
      ...{ reference, registryKind: undefined, plainHttp: false, http, now: () => new Date() },
      credentials: { ...FAKE_USER, env: NO_FILES },
      ...options,
    });
  return { registry, http, check };
}

const verdicts = ({ findings }: StoreFindings): Record<string, string> =>
  Object.fromEntries(findings.map(({ check, verdict }) => [check, verdict]));

const WELL = { registry: 'ok', clock: 'ok', credentials: 'ok', pull: 'ok', public: 'ok', push: 'ok' };
const nobody = { credentials: { env: NO_FILES } };

describe('the doctor, of a registry', () => {
  it.each(Object.entries({ open: {}, ...PROFILES }))('finds %s well for who may publish', async (_, traits) => {
    const { check } = await setUp(traits);
    const found = await check({ credentials: 'auth' in traits ? { ...FAKE_USER, env: NO_FILES } : { env: NO_FILES } });
    expect(verdicts(found)).toEqual(WELL);
    expect(found.withoutIndex).toBeUndefined();
  });

  it('leaves nothing behind', async () => {
    const { registry, check } = await setUp(PROFILES.hub);
    const { tags, manifests, blobs, uploads } = registry.repository('team/cache');
    const before = [tags.size, manifests.size, blobs.size, uploads.size];
    registry.requests.splice(0);
    await check();
    expect([tags.size, manifests.size, blobs.size, uploads.size]).toEqual(before);
    expect(registry.count('POST')).toBe(0);
    expect(registry.count('PUT')).toBe(2); // refused for want of a token, then for what it is
  });

  it('never shows a secret', async () => {
    const { check } = await setUp(PROFILES.ghcr);
    for (const password of [FAKE_USER.password, 'wrong-s3cret']) {
      const found = await check({ credentials: { username: FAKE_USER.username, password, env: NO_FILES } });
      expect(JSON.stringify(found)).not.toContain(password);
      expect(JSON.stringify(found)).not.toContain(Buffer.from(`${FAKE_USER.username}:${password}`).toString('base64'));
    }
  });

  it('says where credentials come from', async () => {
    const { registry, check } = await setUp(PROFILES.hub);
    const file = join(await tempDir(), 'auth.json');
    const auth = Buffer.from(`${FAKE_USER.username}:${FAKE_USER.password}`).toString('base64');
    await writeFile(file, JSON.stringify({ auths: { [registry.host]: { auth } } }));
    const { findings } = await check({ credentials: { env: { ...NO_FILES, REGISTRY_AUTH_FILE: file } } });
    expect(findings.find(({ check }) => check === 'credentials')?.message).toBe(`user publisher, from ${file}`);
    const github = await check({
      registryKind: 'ghcr',
      credentials: { kind: 'ghcr', env: { ...NO_FILES, GH_TOKEN: FAKE_USER.password, GITHUB_ACTOR: 'publisher' } },
    });
    expect(github.findings.find(({ check }) => check === 'credentials')?.message).toBe('user publisher, from GH_TOKEN');
    expect(verdicts(github)['push']).toBe('ok');
  });

  it('tells of a malformed credentials file, and looks on', async () => {
    const { check } = await setUp({});
    const file = join(await tempDir(), 'auth.json');
    await writeFile(file, '{ secret');
    const found = await check({ credentials: { env: { ...NO_FILES, REGISTRY_AUTH_FILE: file } } });
    expect(verdicts(found)).toMatchObject({ credentials: 'problem', pull: 'ok', push: 'skipped' });
  });

  it('tells reading from writing', async () => {
    const { check } = await setUp(PROFILES.hub);
    const found = await check(nobody);
    expect(verdicts(found)).toEqual({ ...WELL, push: 'warning' });
    expect(found.findings.at(-1)).toMatchObject({ message: expect.stringContaining('may not publish') });
  });

  it('refuses no one but tells whom a private cache refuses', async () => {
    const { check } = await setUp({ auth: 'bearer' });
    const found = await check(nobody);
    expect(verdicts(found)).toMatchObject({
      credentials: 'warning',
      pull: 'problem',
      public: 'skipped',
      push: 'warning',
    });
    expect(found.withoutIndex).toBe('the cache may not be read');
  });

  it('knows wrong credentials', async () => {
    const { check } = await setUp({ auth: 'bearer' });
    const found = await check({ credentials: { username: 'publisher', password: 'wrong', env: NO_FILES } });
    expect(found.findings.find(({ check }) => check === 'pull')).toMatchObject({
      verdict: 'problem',
      message: expect.stringContaining('the command line'),
      fix: expect.stringContaining('docker login'),
    });
  });

  it('says of a private package on GHCR where to make it public', async () => {
    const { check } = await setUp(PROFILES.ghcr);
    const found = await check({ registryKind: 'ghcr' });
    expect(found.findings.find(({ check }) => check === 'public')).toMatchObject({
      verdict: 'warning',
      fix: expect.stringContaining('https://github.com/users/team/packages/container/cache/settings'),
    });
  });

  it('says that nothing was published yet', async () => {
    const { registry, check } = await setUp({}, false);
    const found = await check(nobody);
    expect(verdicts(found)).toMatchObject({ pull: 'warning', public: 'skipped', push: 'ok' });
    expect(found.withoutIndex).toBe('nothing was published yet');
    expect(registry.repository('team/cache').manifests.size).toBe(0);
  });

  it('says that a repository has to be created first', async () => {
    const { registry, check } = await setUp({});
    const body = JSON.stringify({ errors: [{ code: 'NAME_UNKNOWN', message: 'no such repository' }] });
    registry.inject({ method: 'PUT', act: { type: 'answer', status: 404, body } });
    const { findings } = await check(nobody);
    expect(findings.at(-1)).toMatchObject({ verdict: 'warning', message: expect.stringContaining('created first') });
  });

  it.each([500, 429, 404, 302])('does not take a %i for permission to write', async (status) => {
    const { registry, check } = await setUp({});
    registry.inject({ method: 'PUT', act: { type: 'answer', status } });
    const { findings } = await check(nobody);
    expect(findings.at(-1)).toMatchObject({ check: 'push', verdict: 'warning' });
  });

  it('says what is no registry', async () => {
    const { registry, check } = await setUp({});
    registry.inject({ path: /^\/v2\/$/, times: 2, act: { type: 'answer', status: 404 } });
    const [first] = (await check(nobody)).findings;
    expect(first).toMatchObject({ verdict: 'problem', message: expect.stringContaining('may be no registry') });
  });

  it('gives up at once on a registry that is not there', async () => {
    const { check } = await setUp({});
    const reference = { kind: 'registry', host: '127.0.0.1:1', repository: 'team/cache' } as const;
    const found = await check({ reference });
    expect(verdicts(found)).toEqual({
      ...{ registry: 'problem', clock: 'skipped', credentials: 'skipped' },
      ...{ pull: 'skipped', public: 'skipped', push: 'skipped' },
    });
    expect(found.findings[0]?.message).toContain('refused the connection');
  });

  it.each([
    [0, 'ok'],
    [2 * 60, 'warning'],
    [-2 * 60, 'warning'],
    [10 * 60, 'problem'],
  ])('judges a clock that is %i s off: %s', async (seconds, verdict) => {
    const { check } = await setUp({});
    const found = await check({ ...nobody, now: () => new Date(Date.now() + seconds * 1000) });
    expect(verdicts(found)['clock']).toBe(verdict);
    const { message } = found.findings.find(({ check }) => check === 'clock') ?? { message: '' };
    if (seconds !== 0) expect(message).toContain(seconds > 0 ? 'ahead of' : 'behind');
  });
});
