import { describe, expect, it } from 'vitest';
import { gcSettings } from '../../src/config/gc-settings.ts';
import { discoverSettings, publishSettings, pushSettings } from '../../src/config/publish-settings.ts';
import { serveSettings } from '../../src/config/serve-settings.ts';
import type { Flags } from '../../src/config/setting.ts';
import { type Given, sources } from './sources.ts';

const KEY = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=';

describe('publish', () => {
  const settings = async (given: Given, flake?: string, flakes: readonly string[] = ['/work']) =>
    publishSettings(flake, await sources(given), (directory) => flakes.includes(directory));

  it('has its defaults', async () => {
    expect(await settings({})).toMatchObject({
      source: '.',
      kinds: ['packages', 'nixosConfigurations', 'devShells'],
      systems: [],
      only: [],
      exclude: [],
      build: true,
      onUpstreamFailure: 'push',
      withBuildDeps: false,
      excludePaths: [],
      maxNarBytes: undefined,
      dryRun: false,
      compression: { method: 'zstd', level: undefined },
      signingKeys: [],
      jobs: undefined,
      retainSeconds: 2_592_000,
      rootName: undefined,
    });
  });

  it('takes the flake of the argument, the config file, here, then ./config', async () => {
    const config = '[publish]\nflake = "./f"';
    expect((await settings({ config }, 'github:o/r')).source).toBe('github:o/r');
    expect((await settings({ config })).source).toBe('/etc/nixcache/f');
    expect((await settings({ config: '[publish]\nflake = "github:o/r"' })).source).toBe('github:o/r');
    expect((await settings({}, undefined, ['/work', '/work/config'])).source).toBe('.');
    expect((await settings({}, undefined, ['/work/config'])).source).toBe('./config');
    await expect(settings({}, undefined, [])).rejects.toThrow(/no flake\.nix in \/work nor in its config\//);
  });

  it('takes a Nix expression in the place of a flake: of the flag, else of the config file', async () => {
    const config = '[publish]\nfile = "release.nix"\nattrs = ["a.b", "c"]';
    expect(await settings({ config })).toMatchObject({
      source: { file: '/etc/nixcache/release.nix' },
      attrs: [['a', 'b'], ['c']],
    });
    expect(await settings({ config }, 'github:o/r')).toMatchObject({ source: 'github:o/r', attrs: [] });
    const flags = { file: 'x.nix', attr: ['"with.dot".d'] };
    expect(await settings({ flags, config: '[publish]\nflake = "."' })).toMatchObject({
      source: { file: '/work/x.nix' },
      attrs: [['with.dot', 'd']],
    });
    await expect(settings({ config: `${config}\nflake = "."` })).rejects.toThrow(
      /publish\.file in .* instead of a flake/,
    );
    await expect(settings({ flags: { attr: ['a'] } })).rejects.toThrow(/--attr is for --file/);
  });

  it('takes flags before the config file', async () => {
    const config = `retain = "2w"
[publish]
kinds = ["checks"]
systems = ["aarch64-linux"]
only = ["a"]
exclude = ["b"]
exclude_paths = ["x"]
max_nar_size = 1000
with_build_deps = true
compression = "xz"
on_upstream_failure = "fail"
jobs = 2`;
    expect(await settings({ config })).toMatchObject({
      kinds: ['checks'],
      systems: ['aarch64-linux'],
      only: ['a'],
      exclude: ['b'],
      excludePaths: [/x/u],
      maxNarBytes: 1000,
      withBuildDeps: true,
      compression: { method: 'xz' },
      onUpstreamFailure: 'fail',
      jobs: 2,
      retainSeconds: 1_209_600,
    });
    const flags: Flags = {
      kinds: ['packages,apps', 'packages'],
      system: ['x86_64-linux'],
      only: ['c'],
      exclude: ['d'],
      excludePath: ['-source$'],
      maxNarSize: '1G',
      compression: 'zstd:9',
      onUpstreamFailure: 'push',
      jobs: '8',
      build: false,
      dryRun: true,
      name: 'my-root',
    };
    expect(await settings({ flags, config })).toMatchObject({
      kinds: ['packages', 'apps'],
      systems: ['x86_64-linux'],
      only: ['c'],
      exclude: ['d'],
      excludePaths: [/-source$/u],
      maxNarBytes: 1_073_741_824,
      compression: { method: 'zstd', level: 9 },
      onUpstreamFailure: 'push',
      jobs: 8,
      build: false,
      dryRun: true,
      rootName: 'my-root',
    });
  });

  it('knows all kinds and all systems as all', async () => {
    expect((await settings({ flags: { kinds: ['all'], system: ['all'] } })).kinds).toHaveLength(9);
    expect((await settings({ flags: { system: ['x86_64-linux', 'all'] } })).systems).toBe('all');
  });

  it.each<[Flags, RegExp]>([
    [{ kinds: ['package'] }, /^--kinds: 'package' is not a kind of flake output; did you mean 'packages'\?/],
    [{ kinds: [','] }, /^--kinds: no kind/],
    [{ system: ['linux'] }, /^--system: 'linux' is not a system/],
    [{ excludePath: ['('] }, /^--exclude-path: '\(' is not a regular expression/],
    [{ maxNarSize: 'big' }, /^--max-nar-size: 'big' is not a size/],
    [{ compression: 'lz4' }, /^--compression: 'lz4' is not a compression/],
    [{ onUpstreamFailure: 'x' }, /^--on-upstream-failure: 'x' is neither/],
    [{ jobs: '0' }, /^--jobs: '0' is not a number of jobs: give a whole number from 1 to 256/],
    [{ name: 'two words' }, /^--name: /],
    [{ requireSigning: true }, /^signing is required, and there is no key/],
  ])('refuses %j', async (flags, message) => {
    await expect(settings({ flags })).rejects.toThrow(message);
    await expect(settings({ flags })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('is content with a key when signing is required', async () => {
    const given = { env: { NIX_SIGNING_KEY: 'k' }, config: '[publish]\nrequire_signing = true' };
    expect(pushSettings(await sources(given)).signingKeys).toHaveLength(1);
  });

  it('and discover agree', async () => {
    const given = await sources({ flags: { kinds: ['apps'] } });
    expect(publishSettings('x', given, () => false)).toMatchObject(discoverSettings('x', given, () => false));
  });
});

describe('gc', () => {
  const settings = async (given: Given) => gcSettings(await sources(given));

  it('has its defaults', async () => {
    expect(await settings({})).toEqual({
      retainSeconds: 2_592_000,
      graceSeconds: 86_400,
      keepLast: undefined,
      dryRun: false,
    });
  });

  it('takes flags before the config file', async () => {
    const config = 'retain = "1w"\n[gc]\ngrace = "2h"\nkeep_last = 5';
    expect(await settings({ config })).toMatchObject({ retainSeconds: 604_800, graceSeconds: 7200, keepLast: 5 });
    const flags = { retain: '1d', grace: '3h', keepLast: '0', dryRun: true };
    expect(await settings({ flags, config })).toMatchObject({
      retainSeconds: 86_400,
      graceSeconds: 10_800,
      keepLast: 0,
      dryRun: true,
    });
  });

  it.each<[Flags, RegExp]>([
    [{ retain: '30' }, /^--retain: '30' is not a duration: write it like 30d/],
    [{ grace: 'x' }, /^--grace: /],
    [{ keepLast: '-1' }, /^--keep-last: /],
  ])('refuses %j', async (flags, message) => {
    await expect(settings({ flags })).rejects.toThrow(message);
  });
});

describe('serve', () => {
  const settings = async (given: Given) => serveSettings(await sources(given), 'ghcr.io/o/r');

  it('has its defaults', async () => {
    expect(await settings({})).toMatchObject({
      listen: '127.0.0.1',
      port: 37_515,
      priority: 30,
      indexTtlSeconds: 300,
      diskCache: undefined,
      redirect: false,
      trustedPublicKeys: [],
      signingKeys: [],
      uploadTokenFile: undefined,
    });
  });

  it('keeps uploads and the disk cache beside the index, wherever that is', async () => {
    const flags = { indexDir: '/x/index', diskCache: '1G' };
    expect(await settings({ flags })).toMatchObject({
      uploadDirectory: '/x/index.uploads',
      diskCache: { directory: '/x/index.objects' },
    });
  });

  it('asks for news no more often than each second', async () => {
    expect(await settings({ flags: { indexTtl: '0' } })).toMatchObject({ indexTtlSeconds: 1 });
    expect(await settings({ flags: { indexTtl: '2' } })).toMatchObject({ indexTtlSeconds: 2 });
  });

  it('takes flags before the environment before the config file', async () => {
    const config = `trusted_public_keys = ["${KEY}"]
[serve]
listen = "::1"
port = 1
index_ttl = "1h"
priority = 50
disk_cache = "1G"
redirect = true
upload_token_file = "token"`;
    const env = {
      NIXCACHE_PORT: '2',
      NIXCACHE_LISTEN: '0.0.0.0',
      NIXCACHE_INDEX_TTL: '60',
      NIXCACHE_UPLOAD_TOKEN_FILE: 'variable',
    };
    const flags = { port: '0', listen: '[::]', indexTtl: '5s', priority: '41', diskCache: '0', redirect: false };
    expect(await settings({ config })).toMatchObject({
      listen: '::1',
      port: 1,
      indexTtlSeconds: 3600,
      priority: 50,
      diskCache: {
        maxBytes: 1_073_741_824,
        directory: expect.stringMatching(/^\/home\/me\/\.cache\/nixcache\/.*objects$/),
      },
      redirect: true,
      trustedPublicKeys: [KEY],
      uploadTokenFile: '/etc/nixcache/token',
    });
    expect(await settings({ config, env })).toMatchObject({
      listen: '0.0.0.0',
      port: 2,
      indexTtlSeconds: 60,
      uploadTokenFile: '/work/variable',
    });
    expect(await settings({ config, env, flags })).toMatchObject({
      listen: '::',
      port: 0,
      indexTtlSeconds: 5,
      priority: 41,
      diskCache: undefined,
      redirect: false,
    });
  });

  it.each<[Given, RegExp]>([
    [{ flags: { port: '70000' } }, /^--port: '70000' is not a port: give a whole number from 0 to 65535/],
    [{ env: { NIXCACHE_PORT: 'http' } }, /^NIXCACHE_PORT: 'http' is not a port/],
    [{ flags: { listen: 'localhost:80' } }, /^--listen: .*the port as --port/],
    [{ flags: { indexTtl: '-5' } }, /^--index-ttl: /],
    [{ flags: { trustedPublicKey: ['x'] } }, /^--trusted-public-key: a public key must read/],
    [{ env: { NIXCACHE_TRUSTED_PUBLIC_KEYS: 'a:b' } }, /^NIXCACHE_TRUSTED_PUBLIC_KEYS: /],
  ])('refuses %j', async (given, message) => {
    await expect(settings(given)).rejects.toThrow(message);
  });
});
