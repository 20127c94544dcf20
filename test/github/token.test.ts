import { describe, expect, it } from 'vitest';
import { parsePackageName, settingsPage } from '../../src/github/package-name.ts';
import { apiToken, areOfOneGithub } from '../../src/github/token.ts';
import type { CredentialsProvider } from '../../src/oci/remote/credentials.ts';

const registry: CredentialsProvider = async () => ({ type: 'basic', username: 'me', password: 'of-the-registry' });
const common = { api: new URL('https://api.github.com'), host: 'ghcr.io', repository: 'o/r' };

describe('the token for the API of GitHub', () => {
  it('is GITHUB_TOKEN, else GH_TOKEN, else the password of the registry', async () => {
    const both = { GITHUB_TOKEN: 'first', GH_TOKEN: 'second' };
    expect(await apiToken({ ...common, env: both, credentials: registry })).toBe('first');
    expect(await apiToken({ ...common, env: { ...both, GITHUB_TOKEN: ' ' }, credentials: registry })).toBe('second');
    expect(await apiToken({ ...common, env: {}, credentials: registry })).toBe('of-the-registry');
    expect(await apiToken({ ...common, env: {}, credentials: async () => undefined })).toBeUndefined();
  });

  it("is never the password of a registry that is not that GitHub's", async () => {
    const mirror = { ...common, host: 'mirror.example', env: {}, credentials: registry };
    expect(await apiToken(mirror)).toBeUndefined();
    expect(await apiToken({ ...mirror, env: { GITHUB_TOKEN: 'own' } })).toBe('own');
  });

  it('is never a token that only the registry understands', async () => {
    const credentials: CredentialsProvider = async () => ({ type: 'registry-token', token: 'x' });
    expect(await apiToken({ ...common, env: {}, credentials })).toBeUndefined();
  });

  it.each([
    ['https://api.github.com', 'ghcr.io', true],
    ['https://api.github.com', 'GHCR.io:443', true],
    ['https://api.github.com', 'notghcr.io', false],
    ['https://api.github.com', 'ghcr.io.evil.example', false],
    ['https://evil.example', 'ghcr.io', false],
    ['https://git.example/api/v3', 'containers.git.example', true],
    ['https://api.octocorp.ghe.com', 'containers.octocorp.ghe.com', true],
    ['https://git.example/api/v3', 'containers.other.example', false],
    ['http://127.0.0.1:8080', '127.0.0.1:5000', true],
    ['https://api.github.com', '127.0.0.1:5000', false],
    ['http://127.0.0.1:8080', 'ghcr.io', false],
  ])('%s and %s are of one GitHub: %s', (api, host, expected) => {
    expect(areOfOneGithub(new URL(api), host)).toBe(expected);
  });
});

describe('the name of a package', () => {
  it('is all below the owner', () => {
    expect(parsePackageName('owner/repo/nix-cache')).toEqual({ owner: 'owner', name: 'repo/nix-cache' });
    expect(parsePackageName('owner/cache')).toEqual({ owner: 'owner', name: 'cache' });
  });

  it.each(['cache', '', '/x', 'x/'])('is not in %s', (repository) => {
    expect(() => parsePackageName(repository)).toThrow(/names no package of an owner/);
  });

  it('has a page of settings', () => {
    const name = parsePackageName('owner/repo/nix-cache');
    expect(settingsPage(name, 'users')).toBe(
      'https://github.com/users/owner/packages/container/repo%2Fnix-cache/settings',
    );
    expect(settingsPage(name)).toContain('https://github.com/orgs/owner/packages/container/repo%2Fnix-cache/settings');
  });
});
