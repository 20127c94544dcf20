import { describe, expect, it } from 'vitest';
import { cacheKey, ownIndexDirectory, resolveCache, resolveIndexDirectory } from '../../src/config/cache-reference.ts';
import { type Given, sources } from './sources.ts';

const resolve = async (given: Given) => resolveCache(await sources(given));

const EVERYTHING = {
  flags: { cache: 'oci:/flag' },
  env: {
    NIXCACHE_CACHE: 'oci:/variable',
    NIXCACHE_REPO: 'Owner/Repo',
    GITHUB_ACTIONS: 'true',
    GITHUB_REPOSITORY: 'Git/Hub',
  },
  config: 'cache = "oci:/config"',
} satisfies Given;
const { NIXCACHE_CACHE: _, ...WITHOUT_CACHE } = EVERYTHING.env;
const { NIXCACHE_REPO: __, ...WITHOUT_REPO } = WITHOUT_CACHE;

describe('the cache is the first of', () => {
  it.each<[string, Given, string]>([
    ['the flag', EVERYTHING, 'oci:/flag'],
    ['NIXCACHE_CACHE', { ...EVERYTHING, flags: {} }, 'oci:/variable'],
    ['the config file', { ...EVERYTHING, flags: {}, env: WITHOUT_CACHE }, 'oci:/config'],
    ['NIXCACHE_REPO', { env: WITHOUT_CACHE }, 'ghcr.io/owner/repo/nix-cache'],
    ['GITHUB_REPOSITORY', { env: WITHOUT_REPO }, 'ghcr.io/git/hub/nix-cache'],
    ['a directory of the user', {}, 'oci:/home/me/.local/share/nixcache'],
  ])('%s', async (_name, given, reference) => {
    expect((await resolve(given)).name).toBe(reference);
  });

  it('NIXCACHE_REPO and GITHUB_REPOSITORY in the registry of NIXCACHE_REGISTRY', async () => {
    const registry = { NIXCACHE_REGISTRY: 'registry.example:5000' };
    expect((await resolve({ env: { ...WITHOUT_CACHE, ...registry } })).name).toBe(
      'registry.example:5000/owner/repo/nix-cache',
    );
    expect((await resolve({ env: { ...WITHOUT_REPO, ...registry } })).name).toBe(
      'registry.example:5000/git/hub/nix-cache',
    );
  });

  it('GITHUB_REPOSITORY only in GitHub Actions', async () => {
    expect((await resolve({ env: { GITHUB_REPOSITORY: 'o/r' } })).reference.kind).toBe('layout');
  });

  it('XDG_DATA_HOME where that is set', async () => {
    expect((await resolve({ env: { XDG_DATA_HOME: '/data' } })).name).toBe('oci:/data/nixcache');
    expect((await resolve({ env: { XDG_DATA_HOME: 'relative' } })).name).toBe('oci:/home/me/.local/share/nixcache');
  });

  it('what is not empty', async () => {
    expect((await resolve({ env: { NIXCACHE_CACHE: ' ', NIXCACHE_REPO: 'o/r' } })).name).toBe('ghcr.io/o/r/nix-cache');
  });
});

describe('a path in a cache reference', () => {
  it.each<[string, Given, string]>([
    ['is relative to the current directory', { flags: { cache: 'oci:cache' } }, 'oci:/work/cache'],
    ['is relative to the config file there', { config: 'cache = "oci:../cache"' }, 'oci:/etc/cache'],
    ['may begin at home', { flags: { cache: 'oci:~/cache' } }, 'oci:/home/me/cache'],
    ['may be absolute', { env: { NIXCACHE_CACHE: 'oci:/srv/cache' } }, 'oci:/srv/cache'],
  ])('%s', async (_name, given, reference) => {
    expect((await resolve(given)).name).toBe(reference);
  });
});

describe('--to and --from', () => {
  it('are other names of --cache', async () => {
    expect((await resolve({ flags: { to: 'ghcr.io/O/R' } })).name).toBe('ghcr.io/o/r');
    expect((await resolve({ flags: { from: 'ghcr.io/O/R', cache: 'ghcr.io/O/R' } })).name).toBe('ghcr.io/o/r');
  });

  it('may not name another one', async () => {
    await expect(resolve({ flags: { to: 'oci:a', cache: 'oci:b' } })).rejects.toThrow(
      '--cache oci:b and --to oci:a name two caches',
    );
  });
});

describe('a wrong reference is told with where it came from', () => {
  it.each<[Given, RegExp]>([
    [{ flags: { cache: './cache' } }, /^--cache: '.\/cache' looks like a directory; write oci:/],
    [{ env: { NIXCACHE_CACHE: 'docker://ghcr.io/o/r' } }, /^NIXCACHE_CACHE: /],
    [{ env: { NIXCACHE_REPO: 'just-a-name' } }, /^NIXCACHE_REPO: 'just-a-name' is not a repository/],
    [{ config: 'cache = "oci:"' }, /^cache in \/etc\/nixcache\/nixcache\.toml: 'oci:' names no directory/],
    [{ flags: { registryKind: 'gchr' } }, /^--registry-kind: unknown registry kind 'gchr'/],
    [{ env: { NIXCACHE_REGISTRY_KIND: 'x' } }, /^NIXCACHE_REGISTRY_KIND: /],
  ])('%j', async (given, message) => {
    await expect(resolve(given)).rejects.toThrow(message);
  });

  it('but one that is not used harms nobody', async () => {
    expect((await resolve({ flags: { cache: 'oci:/x' }, env: { NIXCACHE_REPO: 'bad' } })).name).toBe('oci:/x');
  });
});

describe('the index directory', () => {
  const ofServe = async (given: Given) => resolveIndexDirectory(await sources(given), 'ghcr.io/o/r');
  const key = cacheKey('ghcr.io/o/r');

  it.each<[string, Given, string]>([
    ['of the flag', { flags: { indexDir: 'i' }, env: { NIXCACHE_INDEX_DIR: '/v' } }, '/work/i'],
    ['of NIXCACHE_INDEX_DIR', { env: { NIXCACHE_INDEX_DIR: '/v', CACHE_DIRECTORY: '/c' } }, '/v'],
    ['of the config file', { config: '[serve]\nindex_dir = "i"', env: { CACHE_DIRECTORY: '/c' } }, '/etc/nixcache/i'],
    ['below the first of systemd', { env: { CACHE_DIRECTORY: '/c:/d', XDG_CACHE_HOME: '/x' } }, `/c/${key}`],
    ['below XDG_CACHE_HOME', { env: { XDG_CACHE_HOME: '/x' } }, `/x/nixcache/${key}`],
    ['below the home directory', {}, `/home/me/.cache/nixcache/${key}`],
  ])('%s', async (_name, given, directory) => {
    expect(await ofServe(given)).toBe(directory);
  });

  it('of writers never is the one that was named for serve', async () => {
    expect(ownIndexDirectory(await sources({ env: { NIXCACHE_INDEX_DIR: '/v' } }), 'ghcr.io/o/r')).toBe(
      `/home/me/.cache/nixcache/${key}`,
    );
  });

  it('has a name of its own for each reference', () => {
    const keys = ['ghcr.io/o/r', 'ghcr.io/o--r', 'oci:/o/r', 'oci:/../..', `oci:/${'x'.repeat(500)}`].map(cacheKey);
    expect(new Set(keys).size).toBe(keys.length);
    for (const each of keys) expect(each).toMatch(/^[\w-][\w.-]{0,100}$/);
  });
});
