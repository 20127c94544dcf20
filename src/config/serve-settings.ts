/** What `serve` is told, made into plain values. */
import { isIP } from 'node:net';
import { join } from 'node:path';
import { absolutePath, variable } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { parsePublicKey } from '../nix/signature.ts';
import { parseByteSize } from './byte-size.ts';
import { cacheKey, cacheRoot, type IndexDirectoryFlags, resolveIndexDirectory } from './cache-reference.ts';
import { parseDuration } from './duration.ts';
import { fromConfig, fromEnv, fromFlag, parseInteger, pick, read, type Sources } from './resolve.ts';
import { resolveSigningKeys, type SigningKeyFlags, type SigningKeySource } from './signing-keys.ts';
import { resolveUpstreams, type UpstreamFlags, type UpstreamSetting } from './upstreams.ts';

export interface ServeFlags extends UpstreamFlags, SigningKeyFlags, IndexDirectoryFlags {
  readonly listen?: string | undefined;
  readonly port?: string | undefined;
  readonly priority?: string | undefined;
  readonly indexTtl?: string | undefined;
  readonly diskCache?: string | undefined;
  readonly diskCacheDir?: string | undefined;
  readonly redirect?: boolean | undefined;
  readonly trustedPublicKey?: readonly string[] | undefined;
  readonly uploadTokenFile?: string | undefined;
}

export interface ServeSettings {
  readonly listen: string;
  /** 0: any free port. */
  readonly port: number;
  readonly priority: number;
  readonly indexDirectory: string;
  readonly indexTtlSeconds: number;
  /** Undefined: nothing is kept on disk but the index. */
  readonly diskCache: { readonly directory: string; readonly maxBytes: number } | undefined;
  readonly redirect: boolean;
  readonly upstreams: readonly UpstreamSetting[];
  /** `name:base64`; none: every entry is served. */
  readonly trustedPublicKeys: readonly string[];
  /** What signs uploads. */
  readonly signingKeys: readonly SigningKeySource[];
  /** Undefined: uploads are off. */
  readonly uploadTokenFile: string | undefined;
}

const DEFAULT_LISTEN = '127.0.0.1';
const DEFAULT_PORT = 37_515;
const DEFAULT_PRIORITY = 30; // cache.nixos.org has 40, and the lower is asked first
const DEFAULT_INDEX_TTL = '300s';

/** @throws {NixcacheError} ERR_USAGE */
export function serveSettings(sources: Sources<ServeFlags>, reference: string): ServeSettings {
  const { flags, env, config, cwd } = sources;
  const serve = config.settings.serve ?? {};
  const port = pick<string | number>(
    fromFlag('--port', flags.port),
    fromEnv(env, 'NIXCACHE_PORT'),
    fromConfig(config, 'serve.port', serve.port),
  );
  const priority = pick<string | number>(
    fromFlag('--priority', flags.priority),
    fromConfig(config, 'serve.priority', serve.priority),
  );
  const ttl = pick<string | number>(
    fromFlag('--index-ttl', flags.indexTtl),
    fromEnv(env, 'NIXCACHE_INDEX_TTL'),
    fromConfig(config, 'serve.index_ttl', serve.index_ttl),
  );
  const tokenFile = pick(
    fromFlag('--upload-token-file', flags.uploadTokenFile),
    fromEnv(env, 'NIXCACHE_UPLOAD_TOKEN_FILE'),
    fromConfig(config, 'serve.upload_token_file', serve.upload_token_file),
  );
  return {
    listen: resolveListen(sources),
    port: port === undefined ? DEFAULT_PORT : read(port, (value) => parseInteger(value, 0, 65_535, 'a port')),
    priority:
      priority === undefined ? DEFAULT_PRIORITY : read(priority, (value) => parseInteger(value, 0, 1000, 'a priority')),
    indexDirectory: resolveIndexDirectory(sources, reference),
    indexTtlSeconds: read(ttl ?? { value: DEFAULT_INDEX_TTL, from: 'the default' }, (value) =>
      parseDuration(String(value), { bareSeconds: true }),
    ),
    diskCache: resolveDiskCache(sources, reference),
    redirect: flags.redirect ?? serve.redirect ?? false,
    upstreams: resolveUpstreams(sources),
    trustedPublicKeys: resolveTrustedKeys(sources),
    signingKeys: resolveSigningKeys(sources),
    uploadTokenFile: tokenFile && absolutePath(tokenFile.value, { cwd: tokenFile.directory ?? cwd, env }),
  };
}

function resolveListen({ flags, env, config }: Sources<ServeFlags>): string {
  const given = pick(
    fromFlag('--listen', flags.listen),
    fromEnv(env, 'NIXCACHE_LISTEN'),
    fromConfig(config, 'serve.listen', config.settings.serve?.listen),
  );
  return given === undefined ? DEFAULT_LISTEN : read(given, parseListen);
}

/** An address or host name alone: the port has its own flag. Brackets around IPv6 are taken off. */
function parseListen(text: string): string {
  const address = text.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) !== 0 || /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i.test(address)) return address;
  throw new NixcacheError(
    'ERR_USAGE',
    `'${text}' is not an address to listen on: write one like 127.0.0.1, :: or localhost, and the port as --port`,
  );
}

function resolveDiskCache(sources: Sources<ServeFlags>, reference: string): ServeSettings['diskCache'] {
  const { flags, config, cwd, env } = sources;
  const serve = config.settings.serve ?? {};
  const size = pick<string | number>(
    fromFlag('--disk-cache', flags.diskCache),
    fromConfig(config, 'serve.disk_cache', serve.disk_cache),
  );
  const maxBytes = size === undefined ? 0 : read(size, (value) => parseByteSize(String(value)));
  if (maxBytes === 0) return undefined;
  const directory = pick(
    fromFlag('--disk-cache-dir', flags.diskCacheDir),
    fromConfig(config, 'serve.disk_cache_dir', serve.disk_cache_dir),
  );
  return {
    directory:
      directory === undefined
        ? join(cacheRoot(sources), `${cacheKey(reference)}.objects`)
        : absolutePath(directory.value, { cwd: directory.directory ?? cwd, env }),
    maxBytes,
  };
}

/** Keys, as `name:base64`, of which one has to have signed what is trusted; none: no such demand. */
export function resolveTrustedKeys({
  flags,
  env,
  config,
}: Sources<Pick<ServeFlags, 'trustedPublicKey'>>): readonly string[] {
  const inVariable = variable(env, 'NIXCACHE_TRUSTED_PUBLIC_KEYS')?.split(/\s+/);
  const given = pick(
    fromFlag('--trusted-public-key', flags.trustedPublicKey),
    inVariable && { value: inVariable, from: 'NIXCACHE_TRUSTED_PUBLIC_KEYS' },
    fromConfig(config, 'trusted_public_keys', config.settings.trusted_public_keys),
  );
  return given === undefined ? [] : read(given, (keys) => keys.map((key) => parsePublicKey(key).text));
}
