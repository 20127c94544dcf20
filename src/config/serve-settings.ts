/** What `serve` is told. */
import { isIP } from 'node:net';
import { absolutePath } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { parsePublicKey } from '../nix/signature.ts';
import { INDEX_DIRECTORY, resolveIndexDirectory } from './cache-reference.ts';
import { configuredRetention } from './gc-settings.ts';
import { type Place, resolveAll, type Setting, type SettingTable, type Sources, type Values } from './setting.ts';
import { BYTE_SIZE, checked, integer, PATH, SWITCH, TTL, text, texts } from './setting-types.ts';
import { SIGNING_KEYS } from './signing-keys.ts';
import { UPSTREAMS } from './upstreams.ts';

/** Keys, as `name:base64`, of which one has to have signed what is trusted; none: no such demand. */
export const TRUSTED_KEYS = {
  ...{ type: texts((keys) => keys.map((key) => parsePublicKey(key).text), []), flag: '--trusted-public-key <key>' },
  ...{ env: 'NIXCACHE_TRUSTED_PUBLIC_KEYS', key: 'trusted_public_keys' },
} as const satisfies Setting;

/** Where clients find it. */
export const ADDRESS = {
  /** 0: any free port. */
  port: {
    ...{ type: integer(0, 65_535, 'a port'), flag: '--port <port>', env: 'NIXCACHE_PORT', key: 'serve.port' },
    ...{ default: '37515', help: 'port to listen on, 0 for a free one' },
  },
  listen: {
    ...{ type: text(parseListen), flag: '--listen <address>', env: 'NIXCACHE_LISTEN', key: 'serve.listen' },
    ...{ default: '127.0.0.1', help: 'address to listen on, or unix:PATH for a socket in the file system' },
  },
} as const satisfies SettingTable;

export const SERVE = {
  ...ADDRESS,
  socketMode: {
    ...{ type: checked('the mode of a file, like "0660"', parseMode), flag: '--socket-mode <mode>' },
    ...{ key: 'serve.socket_mode', default: '0660', help: 'who may connect to the socket of --listen unix:PATH' },
  },
  priority: {
    ...{ type: integer(0, 1000, 'a priority'), flag: '--priority <n>', key: 'serve.priority', default: '30' },
    help: 'priority for clients: lower is asked first, and cache.nixos.org has 40',
  },
  upstreams: { ...UPSTREAMS, help: 'ask this cache for what is missing', no: 'ask no other cache' },
  /** None: every entry is served. */
  trustedPublicKeys: { ...TRUSTED_KEYS, help: 'serve nothing that no such key signed, as name:base64' },
  indexTtlSeconds: {
    ...{
      type: TTL,
      flag: '--index-ttl <duration>',
      env: 'NIXCACHE_INDEX_TTL',
      key: 'serve.index_ttl',
      default: '300s',
    },
    help: 'how often to look for news in the cache',
  },
  indexDirectory: { ...INDEX_DIRECTORY, help: 'where to keep the index between runs' },
  logFormat: {
    ...{ type: checked('"text" or "json"', parseLogFormat), flag: '--log-format <format>', key: 'serve.log_format' },
    ...{ default: 'text', help: 'text, or json: a record in JSON on each line of stderr' },
  },
  logRequests: {
    ...{ type: SWITCH, flag: '--log-requests', key: 'serve.log_requests' },
    help: 'say of each request what became of it, as --verbose does among other things',
  },
  redirect: {
    ...{ type: SWITCH, flag: '--redirect', key: 'serve.redirect' },
    help: "send clients to the registry's own storage for NARs, where it has one that needs no token",
  },
  /** None: whoever reaches the server may read. */
  readTokenFile: {
    ...{ type: PATH, flag: '--read-token-file <file>', env: 'NIXCACHE_READ_TOKEN_FILE', key: 'serve.read_token_file' },
    help: 'serve only who shows a token of this file, one a line: TOKEN, or NAME SCOPES TOKEN',
  },
  /** None: nothing can be uploaded. */
  uploadTokenFile: {
    ...{ type: PATH, flag: '--upload-token-file <file>', env: 'NIXCACHE_UPLOAD_TOKEN_FILE' },
    key: 'serve.upload_token_file',
    help: 'take uploads (nix copy --to) from who shows a token of this file',
    note: 'no build logs, debug infos and build traces yet',
  },
  uploadDirectory: {
    ...{ type: PATH, flag: '--upload-dir <dir>', key: 'serve.upload_dir' },
    help: 'where uploads wait until the cache has them',
    note: 'default: beside the index',
  },
  signingKeys: { ...SIGNING_KEYS, help: 'sign uploads with this key' },
  diskCacheBytes: {
    ...{ type: BYTE_SIZE, flag: '--disk-cache <size>', key: 'serve.disk_cache' },
    ...{ help: 'keep NARs and narinfos on disk, up to this size', note: 'default: none are kept' },
  },
  diskCacheDirectory: {
    ...{ type: PATH, flag: '--disk-cache-dir <dir>', key: 'serve.disk_cache_dir' },
    ...{ help: 'where to keep them', note: 'default: beside the index; may be shared by several serves' },
  },
  /** None: what is in paths is shown below the store directory alone. */
  storeHost: {
    ...{ type: text(parseStoreHost), flag: '--store-host <host>', key: 'serve.store_host' },
    help: 'show what is in store paths at HASH.HOST as well, each an origin of its own',
  },
} as const satisfies SettingTable;

export interface ServeSettings extends Omit<Values<typeof SERVE>, 'diskCacheBytes' | 'diskCacheDirectory'> {
  readonly indexDirectory: string;
  /** What gc is run with, as far as that is configured. */
  readonly retention: ReturnType<typeof configuredRetention>;
  readonly uploadDirectory: string;
  /** Undefined: nothing is kept on disk but the index. */
  readonly diskCache: { readonly directory: string; readonly maxBytes: number } | undefined;
}

const MIN_INDEX_TTL_SECONDS = 1;

/** `reference` names the cache, whose index and objects have directories of their own. @throws {NixcacheError} ERR_USAGE */
export function serveSettings(sources: Sources, reference: string): ServeSettings {
  const { diskCacheBytes: maxBytes, diskCacheDirectory, ...settings } = resolveAll(SERVE, sources);
  if (maxBytes === undefined && diskCacheDirectory !== undefined) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${diskCacheDirectory} is to hold a disk cache, and nothing says how large it may become: add --disk-cache SIZE, or serve.disk_cache to the file`,
    );
  }
  if (maxBytes !== undefined && maxBytes > 0) assertDiskCacheSize(maxBytes);
  const indexDirectory = resolveIndexDirectory(sources, reference);
  const directory = diskCacheDirectory ?? `${indexDirectory}.objects`;
  return {
    ...settings,
    // With none, the registry would be asked without end.
    indexTtlSeconds: Math.max(settings.indexTtlSeconds, MIN_INDEX_TTL_SECONDS),
    indexDirectory,
    uploadDirectory: settings.uploadDirectory ?? `${indexDirectory}.uploads`,
    retention: configuredRetention(sources),
    diskCache: maxBytes === undefined || maxBytes === 0 ? undefined : { directory, maxBytes },
  };
}

/** 1 MiB: what the cache itself takes on a disk, its directories, is a quarter of that. */
const LEAST_DISK_CACHE_BYTES = 1024 * 1024;

/** @throws {NixcacheError} ERR_USAGE when nothing could be kept */
export function assertDiskCacheSize(bytes: number, because = ''): void {
  if (bytes >= LEAST_DISK_CACHE_BYTES) return;
  throw new NixcacheError(
    'ERR_USAGE',
    `a disk cache of ${bytes} bytes has no room for anything${because}: give --disk-cache (serve.disk_cache) 1M or more, or 0 for none`,
  );
}

/** The name of a host, whose subdomains all lead here. */
function parseStoreHost(text: string): string {
  const host = text.toLowerCase();
  if (/^(?=.{1,220}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/.test(host)) return host;
  throw new NixcacheError(
    'ERR_USAGE',
    `'${text}' is no host name: write one like cache.example.org, without scheme and port, for HASH.cache.example.org`,
  );
}

function parseLogFormat(text: string): 'text' | 'json' {
  if (text === 'text' || text === 'json') return text;
  throw new NixcacheError('ERR_USAGE', `'${text}' is not a format of logs: there are text and json`);
}

/** An address or host name alone: the port has its own flag. Brackets around IPv6 are taken off. Or the path of a socket. */
function parseListen(text: string, place: Place): string {
  if (text.startsWith(UNIX_SOCKET)) return UNIX_SOCKET + parseSocketPath(text.slice(UNIX_SOCKET.length), place);
  const address = text.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) !== 0 || /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i.test(address)) return address;
  throw new NixcacheError(
    'ERR_USAGE',
    `'${text}' is not an address to listen on: write one like 127.0.0.1, :: or localhost, and the port as --port, or unix:PATH`,
  );
}

export const UNIX_SOCKET = 'unix:';
/** The system has room for so much of a path (sun_path), its end included; longer ones would be cut. */
const MAX_SOCKET_PATH_BYTES = 107;

function parseSocketPath(text: string, place: Place): string {
  if (text === '') throw new NixcacheError('ERR_USAGE', 'a path is missing: write unix:/run/nixcache/nixcache.sock');
  const path = absolutePath(text, place);
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path;
  throw new NixcacheError(
    'ERR_USAGE',
    `the path of a socket has at most ${MAX_SOCKET_PATH_BYTES} bytes: choose a shorter one`,
  );
}

function parseMode(text: string): number {
  if (/^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
  throw new NixcacheError('ERR_USAGE', `'${text}' is not the mode of a file: write one like 0660`);
}
