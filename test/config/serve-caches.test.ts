import { describe, expect, it } from 'vitest';
import { serveCaches } from '../../src/config/serve-caches.ts';
import type { Flags } from '../../src/config/setting.ts';
import { pagesOf } from '../../src/serve/web/routes.ts';
import type { Site } from '../../src/serve/web/site.ts';
import { type Given, sources } from './sources.ts';

const KEYS = ['a-1', 'b-1'].map((name) => `${name}:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=`);
const caches = async (given: Given) =>
  serveCaches(await sources(given)).map(({ prefix, cache, settings }) => ({ prefix, name: cache.name, settings }));

const TWO = `
upstreams = ["https://general"]
trusted_public_keys = ["${KEYS[0]}"]
[serve]
read_token_file = "general"
index_dir = "/index"
[[serve.cache]]
cache = "oci:first"
[[serve.cache]]
prefix = "/team-a"
cache = "ghcr.io/o/a"
upstreams = ["https://own"]
trusted_public_keys = ["${KEYS[1]}"]
read_token_file = "own"
priority = 7
index_ttl = "1h"
[[serve.cache]]
prefix = "/team-b/x"
cache = "ghcr.io/o/b"
upstreams = []
`;

describe('the caches that are served', () => {
  it('are one, as everything says, where the file names no others', async () => {
    const config = 'cache = "ghcr.io/o/r"\n[serve]\npriority = 3';
    expect(await caches({ config })).toMatchObject([{ prefix: '', name: 'ghcr.io/o/r', settings: { priority: 3 } }]);
    expect(await caches({ config, flags: { from: 'oci:/x', priority: '4' } })).toMatchObject([
      { name: 'oci:/x', settings: { priority: 4 } },
    ]);
  });

  it('have of their own what their tables say, and the rest as all others', async () => {
    const [first, a, b] = await caches({ config: TWO });
    expect(first).toMatchObject({
      ...{ prefix: '', name: 'oci:/etc/nixcache/first' },
      settings: {
        ...{ upstreams: [{ url: 'https://general' }], trustedPublicKeys: [KEYS[0]] },
        ...{ readTokenFile: '/etc/nixcache/general', indexDirectory: '/index' },
      },
    });
    expect(a).toMatchObject({
      ...{ prefix: '/team-a', name: 'ghcr.io/o/a' },
      settings: {
        ...{ upstreams: [{ url: 'https://own' }], trustedPublicKeys: [KEYS[1]] },
        ...{ readTokenFile: '/etc/nixcache/own', priority: 7, indexTtlSeconds: 3600 },
      },
    });
    expect(b).toMatchObject({
      ...{ prefix: '/team-b/x', name: 'ghcr.io/o/b' },
      settings: { upstreams: [], readTokenFile: '/etc/nixcache/general', trustedPublicKeys: [KEYS[0]] },
    });
    const directories = [first, a, b].map((each) => each?.settings.indexDirectory);
    expect(new Set(directories).size).toBe(3);
  });

  it('take what is theirs before variables and flags, which are for all', async () => {
    const given = { config: TWO, env: { NIXCACHE_READ_TOKEN_FILE: '/all', NIXCACHE_UPSTREAM: 'https://all' } };
    const [first, a, b] = await caches({ ...given, flags: { priority: '9', indexDir: '/mine' } });
    expect(first?.settings).toMatchObject({ readTokenFile: '/all', upstreams: [{ url: 'https://all' }], priority: 9 });
    expect(a?.settings).toMatchObject({
      readTokenFile: '/etc/nixcache/own',
      upstreams: [{ url: 'https://own' }],
      priority: 7,
    });
    expect(b?.settings).toMatchObject({ readTokenFile: '/all', upstreams: [], priority: 9 });
    expect([first, a, b].filter((each) => each?.settings.indexDirectory === '/mine')).toEqual([first]);
  });

  it('share what may be kept on disk, in directories of their own', async () => {
    const config = `[serve]\ndisk_cache = 3145728\ndisk_cache_dir = "/d"${TWO.slice(TWO.indexOf('\n[[serve'))}`;
    const kept = (await caches({ config })).map(({ settings }) => settings.diskCache);
    expect(kept.map((each) => each?.maxBytes)).toEqual([1_048_576, 1_048_576, 1_048_576]);
    expect(new Set(kept.map((each) => each?.directory)).size).toBe(3);
    expect(kept[0]?.directory).toBe('/d');
  });

  it('have of an upstream what the file says of it', async () => {
    const config = `[[upstream]]\nurl = "https://u"\npriority = 5\n[[serve.cache]]\nupstreams = ["https://u"]`;
    expect(await caches({ config })).toMatchObject([{ settings: { upstreams: [{ url: 'https://u', priority: 5 }] } }]);
  });

  const second = (rest: string): string => `[[serve.cache]]\n[[serve.cache]]\ncache = "oci:x"\n${rest}`;
  it.each([
    [second(''), /^serve\.cache\[1\]\.prefix in .*: each cache but the first needs one/],
    [`${second('prefix = "/a"')}\n[[serve.cache]]\nprefix = "/a"`, /another cache has '\/a', too/],
    [second('prefix = "a"'), /serve\.cache\[1\]\.prefix must be a path/],
    [second('prefix = "/"'), /must be a path/],
    [second('prefix = "/a/"'), /must be a path/],
    [second('prefix = "/a/../b"'), /must be a path/],
    [second('prefix = "/a%20b"'), /must be a path/],
    [second('prefix = "/nar"'), /^serve\.cache\[1\]\.prefix in .*: it cannot be '\/nar', for \/nar means something in/],
    [second('prefix = "/team/_status"'), /\/_status means something/],
    [second('prefix = "/x.narinfo"'), /\/x\.narinfo means something/],
    [second('prefix = "/robots.txt"'), /\/robots\.txt means something/],
    ['[serve]\ncache = "x"', /serve\.cache must be tables, each headed \[\[serve\.cache\]\]/],
    ['[[serve.cache]]\nprefx = "/a"', /serve\.cache\[0\]\.prefx is not a setting, did you mean 'prefix'\?/],
  ])('are refused where the file says %j', async (config, message) => {
    await expect(caches({ config })).rejects.toThrow(message);
    await expect(caches({ config })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it.each<[Flags, RegExp]>([
    [{ socketMode: '0600' }, /^--socket-mode would have no effect/],
    [{ uploadDir: '/u' }, /^--upload-dir would have no effect/],
    [{ diskCache: '200K' }, /^a disk cache of 204800 bytes has no room for anything: give --disk-cache .* 1M or more/],
  ])('are refused with flags that would do nothing: %j', async (flags, message) => {
    const from = 'oci:x';
    await expect(caches({ flags: { from, ...flags } })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    await expect(caches({ flags: { from, ...flags } })).rejects.toThrow(message);
    const used = {
      socketMode: '0600',
      listen: 'unix:/s',
      port: '1',
      uploadTokenFile: '/t',
      redirect: true,
      plainHttp: true,
    };
    await expect(caches({ flags: { ...used, uploadDir: '/u', from } })).resolves.toHaveLength(1);
  });

  it('hide no page of the first', async () => {
    const paths = pagesOf({ options: {} } as Site).map(([pattern]) => pattern.split('/')[1] ?? '');
    const pages = new Set(paths.filter((name) => name !== ''));
    expect(pages.size).toBeGreaterThan(8);
    for (const page of pages) {
      await expect(caches({ config: second(`prefix = "/${page}"`) })).rejects.toThrow(`/${page} means something`);
    }
  });

  it('are not named by a flag as well', async () => {
    await expect(caches({ config: TWO, flags: { from: 'oci:x' } })).rejects.toThrow(
      /^--from: \[\[serve\.cache\]\] in /,
    );
  });
});
