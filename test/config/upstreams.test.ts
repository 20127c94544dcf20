import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bearerAuthorization } from '../../src/config/token-file.ts';
import { resolveUpstreams } from '../../src/config/upstreams.ts';
import { tempDir } from '../support/temp-dir.ts';
import { type Given, sources } from './sources.ts';

const KEY = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=';
const resolve = async (given: Given) => resolveUpstreams(await sources(given));
const urls = async (given: Given) => (await resolve(given)).map(({ url }) => url);

const TABLES = `
[[upstream]]
url = "https://a.example/"
public_keys = ["${KEY}"]
proxy = "socks5://me:hunter22@localhost:1080"
priority = 5
timeout = "3s"
[[upstream]]
url = "https://b.example"`;

describe('the upstreams are', () => {
  it.each<[string, Given, readonly string[]]>([
    ['cache.nixos.org by default', {}, ['https://cache.nixos.org']],
    ['none with --no-upstream', { flags: { upstream: false }, config: 'upstreams = ["https://a"]' }, []],
    [
      'those of the flag, each once',
      { flags: { upstream: ['https://a', 'https://b', 'https://a/'] }, env: { NIXCACHE_UPSTREAM: 'https://c' } },
      ['https://a', 'https://b'],
    ],
    [
      'those of NIXCACHE_UPSTREAM',
      { env: { NIXCACHE_UPSTREAM: ' https://a  https://b ' }, config: 'upstreams = ["https://c"]' },
      ['https://a', 'https://b'],
    ],
    [
      'none when NIXCACHE_UPSTREAM says so',
      { env: { NIXCACHE_UPSTREAM: 'none' }, config: 'upstreams = ["https://c"]' },
      [],
    ],
    ['none when the flag says so', { flags: { upstream: ['none'] }, env: { NIXCACHE_UPSTREAM: 'https://c' } }, []],
    ['none when the list says so', { config: 'upstreams = ["none"]' }, []],
    ['the default when NIXCACHE_UPSTREAM is empty', { env: { NIXCACHE_UPSTREAM: '' } }, ['https://cache.nixos.org']],
    [
      'those of the list when NIXCACHE_UPSTREAM is empty',
      { env: { NIXCACHE_UPSTREAM: ' ' }, config: 'upstreams = ["https://c"]' },
      ['https://c'],
    ],
    ['those of the list', { config: 'upstreams = ["https://a", "file:///b"]' }, ['https://a', 'file:///b']],
    ['none when the list is empty', { config: 'upstreams = []' }, []],
    ['those of the tables', { config: TABLES }, ['https://a.example', 'https://b.example']],
  ])('%s', async (_name, given, expected) => {
    expect(await urls(given)).toEqual(expected);
  });

  it('known by their keys', async () => {
    expect((await resolve({}))[0]?.publicKeys.map(({ text }) => text)).toEqual([KEY]);
  });

  it('described by the tables even when the flag names them', async () => {
    const [first, second] = await resolve({
      flags: { upstream: ['https://c.example', 'https://a.example'] },
      config: TABLES,
    });
    expect(first).toMatchObject({ url: 'https://c.example', proxy: undefined });
    expect(second).toMatchObject({ proxy: 'socks5://me:hunter22@localhost:1080', priority: 5, timeoutMs: 3000 });
    expect(second?.publicKeys).toHaveLength(1);
  });
});

describe('a wrong upstream is told with where it came from', () => {
  it.each<[string, Given, RegExp]>([
    [
      'a URL of another kind',
      { flags: { upstream: ['ftp://bucket'] } },
      /^--upstream: upstream ftp:\/\/bucket\/?: use https/,
    ],
    [
      'none beside some',
      { env: { NIXCACHE_UPSTREAM: 'none https://c' } },
      /^NIXCACHE_UPSTREAM: 'none' stands beside a URL/,
    ],
    [
      'no URL',
      { env: { NIXCACHE_UPSTREAM: 'cache.nixos.org' } },
      /^NIXCACHE_UPSTREAM: 'cache\.nixos\.org' is not a URL; write it like https:/,
    ],
    [
      'a bad key',
      { config: TABLES.replace(KEY, 'x') },
      /^upstream\[0\]\.public_keys in .*nixcache\.toml: a public key/,
    ],
    [
      'a proxy of another kind',
      { config: TABLES.replace('socks5', 'ftp') },
      /^upstream\[0\]\.proxy in .*: it is not a proxy/,
    ],
    ['both forms', { config: `upstreams = []\n${TABLES}` }, /exclude each other/],
  ])('%s', async (_name, given, message) => {
    await expect(resolve(given)).rejects.toThrow(message);
  });

  it('and never with the password in it', async () => {
    for (const given of [
      { config: TABLES.replace('socks5', 'ftp') },
      { flags: { upstream: ['s3://me:hunter22@bucket'] } },
      { flags: { upstream: ['https://me:hunter22@host/?priority=x'] } },
    ]) {
      await expect(resolve(given)).rejects.toThrow(
        expect.not.objectContaining({ message: expect.stringContaining('hunter22') }),
      );
    }
  });
});

describe('a token for an upstream', () => {
  it('is read from the file that its table names, relative to the config file', async () => {
    const config = '[[upstream]]\nurl = "https://a"\nbearer_token_file = "token"\n[[upstream]]\nurl = "https://b"';
    expect((await resolve({ config })).map(({ tokenFile }) => tokenFile)).toEqual(['/etc/nixcache/token', undefined]);
    const file = join(await tempDir(), 'token');
    await writeFile(file, ' t0ken.a-b\n');
    expect([bearerAuthorization(file), bearerAuthorization(undefined)]).toEqual(['Bearer t0ken.a-b', undefined]);
    for (const text of ['', 'two secrets', 'one\nsecret', 'sécret']) {
      await writeFile(file, text);
      expect(() => bearerAuthorization(file)).toThrow(
        `read a token from ${file} (bearer_token_file): it has to hold one token`,
      );
      expect(() => bearerAuthorization(file)).not.toThrow(/secret|sécret/);
    }
    expect(() => bearerAuthorization(`${file}.gone`)).toThrow('there is no such file');
  });
});
