/** The upstream binary caches: what they have need not be published, and `serve` falls back to them. */

import { absolutePath } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { parsePublicKey } from '../nix/signature.ts';
import { CACHE_NIXOS_ORG, parseUpstream, type UpstreamCache } from '../upstream/upstream-cache.ts';
import { parseDuration } from './quantities.ts';
import { type Given, given, read, type Setting, type SettingTable, type Sources } from './setting.ts';
import { integer, PATH, TEXT, TEXTS, TTL } from './setting-types.ts';

export interface UpstreamSetting extends UpstreamCache {
  /** `http://…` or `socks5://…`, perhaps with a password. */
  readonly proxy: string | undefined;
  /** Holds a token that is sent as Bearer. */
  readonly tokenFile?: string | undefined;
}

/** What the config file may say of an upstream, below a heading [[upstream]] of its own. */
export const UPSTREAM_TABLE = {
  url: { type: TEXT, key: 'url' },
  public_keys: { type: TEXTS, key: 'public_keys' },
  bearer_token_file: { type: PATH, key: 'bearer_token_file' },
  proxy: { type: TEXT, key: 'proxy' },
  priority: { type: integer(0, 1000, 'a priority'), key: 'priority' },
  timeout: { type: TTL, key: 'timeout' },
} as const satisfies SettingTable;

type UpstreamTable = Readonly<
  { url: string; public_keys?: readonly string[]; bearer_token_file?: string } & {
    proxy?: string;
    priority?: number;
    timeout?: string | number;
  }
>;

/**
 * The upstreams, in the order they are listed. `--upstream` and NIXCACHE_UPSTREAM name them by URL; what the config
 * file says about such a URL goes with it. The word `none` alone means no upstream, as `--no-upstream`.
 *
 * @throws {NixcacheError} ERR_USAGE
 */
export const UPSTREAMS = {
  ...{ type: TEXTS, flag: '--upstream <url>', env: 'NIXCACHE_UPSTREAM', key: 'upstreams', resolve: resolveUpstreams },
  note: `none: no cache; default: ${CACHE_NIXOS_ORG}`,
} as const satisfies Setting;

export function resolveUpstreams(sources: Sources): readonly UpstreamSetting[] {
  const { flags, config } = sources;
  const tables = config.settings['upstream'] as readonly UpstreamTable[] | undefined;
  if (config.settings['upstreams'] !== undefined && tables !== undefined) {
    throw new NixcacheError(
      'ERR_USAGE',
      `read configuration ${config.file}: 'upstreams' and [[upstream]] exclude each other; keep one of them`,
    );
  }
  if (flags['upstream'] === false) return [];
  const described = (tables ?? []).map((table, index) => fromTable(sources, table, index));
  const urls = given(UPSTREAMS, sources);
  if (urls === undefined) return tables === undefined ? [plain(CACHE_NIXOS_ORG)] : unique(described);
  const named = read(urls, (list) => urlsIn(TEXTS.read(list, sources)).map(plain));
  return unique(
    named.map((bare) => {
      const table = described.find(({ url }) => url === bare.url);
      if (table === undefined) return bare;
      const { authorization, username } = bare.authorization === undefined ? table : bare;
      return { ...table, authorization, username };
    }),
  );
}

const NONE = 'none';

/** @throws {NixcacheError} ERR_USAGE where there are both none and some */
function urlsIn(texts: readonly string[]): readonly string[] {
  if (!texts.includes(NONE)) return texts;
  if (texts.every((text) => text === NONE)) return [];
  throw new NixcacheError('ERR_USAGE', `'${NONE}' stands beside a URL; keep one of them`);
}

const plain = (url: string): UpstreamSetting => ({ ...parseUpstream(url), proxy: undefined });

function fromTable({ config, cwd, env }: Sources, table: UpstreamTable, index: number): UpstreamSetting {
  const at = <T>(key: string, value: T): Given<T> => ({ value, from: `upstream[${index}].${key} in ${config.file}` });
  const { url, public_keys: keys, bearer_token_file: tokenFile, proxy, timeout, priority } = table;
  const upstream = read(at('url', url), parseUpstream);
  return {
    ...upstream,
    publicKeys:
      keys === undefined ? upstream.publicKeys : read(at('public_keys', keys), (list) => list.map(parsePublicKey)),
    proxy: proxy === undefined ? undefined : read(at('proxy', proxy), parseProxy),
    tokenFile: tokenFile && absolutePath(tokenFile, { cwd: config.directory ?? cwd, env }),
    priority: priority ?? upstream.priority,
    timeoutMs:
      timeout === undefined ? upstream.timeoutMs : parseDuration(String(timeout), { bareSeconds: true }) * 1000,
  };
}

/** @throws {NixcacheError} ERR_USAGE, which does not repeat the URL: it may hold a password */
function parseProxy(text: string): string {
  const protocols = ['http:', 'https:', 'socks5:', 'socks5h:'];
  if (/^[a-z0-9]+:\/\//i.test(text) && protocols.includes(URL.parse(text)?.protocol ?? '')) return text;
  throw new NixcacheError('ERR_USAGE', 'it is not a proxy: write a URL like http://host:3128 or socks5://host:1080');
}

function unique(upstreams: readonly UpstreamSetting[]): readonly UpstreamSetting[] {
  return upstreams.filter((upstream, index) => upstreams.findIndex(({ url }) => url === upstream.url) === index);
}
