/** The caches that `serve` has: one, or those of the tables [[serve.cache]] in the config file, each under its own prefix. */
import { NixcacheError } from '../errors.ts';
import { CACHE, type CacheSetting, INDEX_DIRECTORY, resolveCache } from './cache-reference.ts';
import { assertNoIdleFlag } from './idle-flags.ts';
import { assertDiskCacheSize, SERVE, type ServeSettings, serveSettings, TRUSTED_KEYS } from './serve-settings.ts';
import { type Flags, flagNames, fromConfig, type Setting, type SettingTable, type Sources } from './setting.ts';
import { checked, TEXT, TEXTS } from './setting-types.ts';
import { UPSTREAMS } from './upstreams.ts';

/** What such a table may say; what it does not say is as for `serve` as a whole, whatever that comes from. */
export const CACHE_TABLE = {
  prefix: { type: checked('a path, like "/team-a"', parsePath), key: 'prefix' },
  cache: { type: TEXT, key: 'cache' },
  upstreams: { type: { ...TEXTS, words: 'a list of URLs' }, key: 'upstreams' },
  trustedPublicKeys: { type: TRUSTED_KEYS.type, key: 'trusted_public_keys' },
  readTokenFile: { type: SERVE.readTokenFile.type, key: 'read_token_file' },
  uploadTokenFile: { type: SERVE.uploadTokenFile.type, key: 'upload_token_file' },
  uploadDirectory: { type: SERVE.uploadDirectory.type, key: 'upload_dir' },
  priority: { type: SERVE.priority.type, key: 'priority' },
  indexTtlSeconds: { type: SERVE.indexTtlSeconds.type, key: 'index_ttl' },
  indexDirectory: { type: INDEX_DIRECTORY.type, key: 'index_dir' },
} as const satisfies SettingTable;

/** What each of them is in place of. */
const INSTEAD_OF: Readonly<Record<Exclude<keyof typeof CACHE_TABLE, 'prefix'>, readonly Setting[]>> = {
  cache: [CACHE.cache, CACHE.to, CACHE.from],
  upstreams: [UPSTREAMS],
  trustedPublicKeys: [TRUSTED_KEYS],
  readTokenFile: [SERVE.readTokenFile],
  uploadTokenFile: [SERVE.uploadTokenFile],
  uploadDirectory: [SERVE.uploadDirectory],
  priority: [SERVE.priority],
  indexTtlSeconds: [SERVE.indexTtlSeconds],
  indexDirectory: [INDEX_DIRECTORY],
};

export interface ServeCache {
  /** `/team-a`; empty: at the root. The first is there, too, whatever its own prefix. */
  readonly prefix: string;
  readonly sources: Sources;
  readonly cache: CacheSetting;
  readonly settings: ServeSettings;
}

type Table = Readonly<Record<string, unknown>>;

/** At least one; the first answers at the root. @throws {NixcacheError} ERR_USAGE */
export function serveCaches(sources: Sources): readonly [ServeCache, ...ServeCache[]] {
  const tables = fromConfig({ type: TEXT, key: 'serve.cache' }, sources)?.value as readonly Table[] | undefined;
  const [first = {}, ...others] = tables ?? [];
  assertPrefixes([first, ...others], sources);
  if (first['cache'] !== undefined) assertNoFlag(sources);
  const share = (served: ServeCache): ServeCache => withDiskShare(served, 1 + others.length);
  const caches: readonly [ServeCache, ...ServeCache[]] = [
    share(cacheOf(first, sources)),
    ...others.map((table) => share(cacheOf(table, withoutDirectories(sources)))),
  ];
  assertNoIdleFlag(sources.flags, caches[0].settings);
  return caches;
}

/** A directory is for one cache. */
const withoutDirectories = (sources: Sources): Sources =>
  [INDEX_DIRECTORY, SERVE.diskCacheDirectory, SERVE.uploadDirectory].reduce<Sources>(withoutSetting, sources);

/** What may be kept on disk is for all of them together. */
function withDiskShare(served: ServeCache, count: number): ServeCache {
  const { diskCache } = served.settings;
  if (diskCache === undefined || count === 1) return served;
  const maxBytes = Math.floor(diskCache.maxBytes / count);
  assertDiskCacheSize(maxBytes, `, for each of ${count} caches gets its share`);
  return { ...served, settings: { ...served.settings, diskCache: { ...diskCache, maxBytes } } };
}

function cacheOf(table: Table, sources: Sources): ServeCache {
  let own = sources;
  for (const [name, { key }] of Object.entries(CACHE_TABLE)) {
    const value = table[key];
    if (name === 'prefix' || value === undefined) continue;
    const replaced = INSTEAD_OF[name as keyof typeof INSTEAD_OF];
    for (const setting of replaced) own = withoutSetting(own, setting);
    own = name === 'upstreams' ? withUpstreams(own, value as readonly string[]) : withSetting(own, replaced[0], value);
  }
  const cache = resolveCache(own);
  const prefix = typeof table['prefix'] === 'string' ? parsePath(table['prefix']) : '';
  return { prefix, sources: own, cache, settings: serveSettings(own, cache.name) };
}

/** As flags name them: what the file says of a URL in a table [[upstream]] goes with it. */
const withUpstreams = (sources: Sources, urls: readonly string[]): Sources => ({
  ...sources,
  flags: { ...sources.flags, upstream: urls.length === 0 ? false : urls },
});

function withoutSetting(sources: Sources, { flag, env, key }: Setting): Sources {
  const flags: Record<string, Flags[string]> = { ...sources.flags };
  if (flag !== undefined) delete flags[flagNames(flag).attribute];
  const variables = { ...sources.env, ...(env !== undefined && { [env]: undefined }) };
  return {
    ...sources,
    flags,
    env: variables,
    // Upstreams are named by flags, and the file describes them.
    config: key === undefined || key === UPSTREAMS.key ? sources.config : withKey(sources.config, key, undefined),
  };
}

const withSetting = (sources: Sources, setting: Setting | undefined, value: unknown): Sources => ({
  ...sources,
  config: setting?.key === undefined ? sources.config : withKey(sources.config, setting.key, value),
});

/** `key` is a name, or two with a dot between. */
function withKey(config: Sources['config'], key: string, value: unknown): Sources['config'] {
  const [outer = '', inner] = key.split('.');
  const table = config.settings[outer] as Table | undefined;
  return {
    ...config,
    settings: { ...config.settings, [outer]: inner === undefined ? value : { ...table, [inner]: value } },
  };
}

/** A flag comes before the file, and here it would have to say for which of them. */
function assertNoFlag({ flags, config }: Sources): void {
  for (const { flag } of [CACHE.cache, CACHE.to, CACHE.from]) {
    const { name, attribute } = flagNames(flag);
    if (flags[attribute] === undefined) continue;
    throw new NixcacheError(
      'ERR_USAGE',
      `${name}: [[serve.cache]] in ${config.file} names the caches that are served; leave one of them out`,
    );
  }
}

function assertPrefixes(tables: readonly Table[], { config }: Sources): void {
  const seen = new Set<string>();
  for (const [index, { prefix }] of tables.entries()) {
    const fail = (reason: string): never => {
      throw new NixcacheError('ERR_USAGE', `serve.cache[${index}].prefix in ${config.file}: ${reason}`);
    };
    if (prefix === undefined && index > 0) fail('each cache but the first needs one, like "/team-a"');
    if (typeof prefix !== 'string') continue;
    const taken = prefix.split('/').find((segment) => TAKEN.test(segment));
    if (taken !== undefined) fail(`it cannot be '${prefix}', for /${taken} means something in every cache`);
    if (seen.has(prefix)) fail(`another cache has '${prefix}', too`);
    seen.add(prefix);
  }
}

/** Paths of every cache and of its pages, which no prefix may hide. */
const TAKEN =
  /^(?:nix-cache-info|public-key|robots\.txt|nar|nix|log|realisations|build-trace-v2|debuginfo|health|metrics|entries|path|space|roots?|retention|upstreams|page\.css|icon\.svg|_.*|.*\.narinfo|.*\.ls)$/;

/** @throws {NixcacheError} ERR_USAGE */
function parsePath(text: string): string {
  if (/^(?:\/[A-Za-z0-9_][A-Za-z0-9._-]*)+$/.test(text)) return text;
  throw new NixcacheError(
    'ERR_USAGE',
    `'${text}' cannot be the prefix of a cache: write it like /team-a, of letters, digits and . _ -`,
  );
}
