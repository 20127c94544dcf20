import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig, parseConfig } from '../../src/config/load.ts';

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nixcache-config-'));
});
afterEach(() => rm(directory, { recursive: true }));

const load = (file?: string) => loadConfig({ file, cwd: join(directory, 'project'), env: { HOME: directory } });

async function write(path: string, text: string): Promise<string> {
  const file = join(directory, path);
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, text);
  return file;
}

describe('the config file', () => {
  it('need not be there', async () => {
    expect(await load()).toEqual({ file: undefined, directory: undefined, settings: {} });
  });

  it('of the user is read when the project has none', async () => {
    const file = await write('.config/nixcache/config.toml', 'cache = "oci:user"');
    expect(await load()).toMatchObject({ file, settings: { cache: 'oci:user' } });
  });

  it('follows XDG_CONFIG_HOME', async () => {
    const file = await write('xdg/nixcache/config.toml', 'cache = "oci:xdg"');
    const env = { HOME: directory, XDG_CONFIG_HOME: join(directory, 'xdg') };
    expect(await loadConfig({ file: undefined, cwd: directory, env })).toMatchObject({ file });
  });

  it('of the project comes before that of the user', async () => {
    await write('.config/nixcache/config.toml', 'cache = "oci:user"');
    const file = await write('project/nixcache.toml', 'cache = "oci:project"');
    expect(await load()).toMatchObject({ file, directory: join(directory, 'project') });
  });

  it('named by --config comes before both, and must be there', async () => {
    await write('project/nixcache.toml', 'cache = "oci:project"');
    await write('project/other.toml', 'cache = "oci:other"');
    expect(await load('other.toml')).toMatchObject({ settings: { cache: 'oci:other' } });
    await expect(load('missing.toml')).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: `read configuration ${join(directory, 'project/missing.toml')}: there is no such file; is the path right?`,
    });
  });

  it('that is a directory is an error, not an absent file', async () => {
    await mkdir(join(directory, 'project/nixcache.toml'), { recursive: true });
    await expect(load()).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });
});

describe('every setting', () => {
  it('may stand in the file', async () => {
    const { settings } = await parseConfig(
      `cache = "ghcr.io/o/r/nix-cache"
registry_kind = "ghcr"
plain_http = true
trusted_public_keys = ["a:b"]
signing_key_files = ["k1", "k2"]
retain = "30d"
[[upstream]]
url = "https://cache.nixos.org"
public_keys = ["a:b"]
proxy = "socks5://localhost:1080"
priority = 10
timeout = "10s"
[serve]
listen = "0.0.0.0"
port = 8080
priority = 30
index_dir = "index"
index_ttl = 300
disk_cache = "10GiB"
disk_cache_dir = "objects"
redirect = true
upload_token_file = "token"
[publish]
flake = "./config"
kinds = ["packages"]
systems = ["x86_64-linux"]
only = ["packages.*"]
exclude = ["*.broken"]
exclude_paths = ["-source$"]
max_nar_size = "2GiB"
with_build_deps = true
compression = "zstd:9"
require_signing = true
on_upstream_failure = "fail"
jobs = 4
[gc]
grace = "24h"
keep_last = 3
`,
      '/nixcache.toml',
    );
    expect(settings).toMatchObject({ serve: { port: 8080 }, upstream: [{ timeout: '10s' }] });
  });
});

describe('a mistake in the file is told by file, key and what is allowed', () => {
  it.each([
    ['cache = 5', 'cache must be text, not 5'],
    ['[serve]\ndisk_cash = "1G"', "serve.disk_cash is not a setting, did you mean 'disk_cache'?"],
    ['cache = ""', 'cache is empty: give a value, or take it out'],
    ['signing_key_files = ["a", ""]', 'signing_key_files holds an empty text: give a value, or take it out'],
    ['cach = "oci:x"', "cach is not a setting, did you mean 'cache'?"],
    ['[serve]\nprot = 1', "serve.prot is not a setting, did you mean 'port'?"],
    ['[serve]\nport = 70000', 'serve.port must be a whole number from 0 to 65535, not 70000'],
    ['[serve]\nport = "80"', 'serve.port must be a whole number from 0 to 65535, not "80"'],
    [
      '[serve]\nindex_ttl = "soon"',
      'serve.index_ttl must be a duration, like "5m", or a number of seconds, not "soon"',
    ],
    ['serve = 1', 'serve must be a table'],
    ['retain = 30', 'retain must be a duration, like "30d", "12h", "90m", "45s" or "2w", not 30'],
    ['upstreams = "https://x"', 'upstreams must be a list of texts, like ["one", "two"], not "https://x"'],
    ['upstream = 1', 'upstream must be tables, each headed [[upstream]]'],
    ['[[upstream]]\nproxy = "x"', 'upstream[0].url must be text, not nothing'],
    ['[[upstream]]\nurl = "https://x"\nkeys = []', 'upstream[0].keys is not a setting'],
    ['[publish]\ncompression = "gzip"', 'publish.compression must be "zstd"'],
    ['[publish]\non_upstream_failure = "x"', 'publish.on_upstream_failure must be "push" or "fail", not "x"'],
    ['[gc]\nkeep_last = -1', 'gc.keep_last must be a whole number from 0'],
    [
      '[gc]\nretain = "7d"',
      "gc.retain is not a setting, did you mean 'retain' at the top of the file, before any [table]?",
    ],
    ['compression = "xz"', "compression is not a setting, did you mean 'compression' in [publish]?"],
    ['priority = 1', "priority is not a setting, did you mean 'priority' in [serve] or in [[upstream]]?"],
    ['[gc]\ncompresion = "xz"', "gc.compresion is not a setting, did you mean 'compression' in [publish]?"],
    ['key_file = "k"', "key_file is not a setting, did you mean 'signing_key_file'?"],
    ['key-files = ["k"]', "key-files is not a setting, did you mean 'signing_key_files'?"],
    [
      '[publish]\nkey_file = "k"',
      "publish.key_file is not a setting, did you mean 'signing_key_file' at the top of the file, before any [table]?",
    ],
    ['[[upstream]]\nurl = "https://x"\nkeys = []', "upstream[0].keys is not a setting, did you mean 'public_keys'?"],
    ['[gc]\nbanana = 1', 'gc.banana is not a setting, there are keep_last, grace'],
    ['banana = 1', 'banana is not a setting, there are cache, registry_kind'],
  ])('%j', async (text, message) => {
    const failed = parseConfig(text, '/some/nixcache.toml');
    await expect(failed).rejects.toMatchObject({ code: 'ERR_USAGE' });
    await expect(failed).rejects.toThrow(`read configuration /some/nixcache.toml: ${message}`);
  });

  it('and by line when it is not TOML', async () => {
    await expect(parseConfig('cache = "x"\nport 5\n', '/n.toml')).rejects.toThrow(
      /^read configuration \/n\.toml, line 2: not TOML: /,
    );
  });
});
