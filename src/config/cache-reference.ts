/** Which cache is meant, and where what is known of it lies on this machine. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { absolutePath, cacheHome, dataHome, variable } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { type CacheReference, formatReference, parseReference } from '../oci/reference.ts';
import { parseRegistryKindName, type RegistryKindName } from '../oci/remote/registry-kinds.ts';
import { fromConfig, fromEnv, fromFlag, type Given, pick, read, type Sources } from './resolve.ts';

export interface CacheFlags {
  readonly cache?: string | undefined;
  /** Other names for `cache`, for those who write and those who read. */
  readonly to?: string | undefined;
  readonly from?: string | undefined;
  readonly registryKind?: string | undefined;
  readonly plainHttp?: boolean | undefined;
}

export interface CacheSetting {
  /** The path of an image layout is absolute. */
  readonly reference: CacheReference;
  /** The reference as text. */
  readonly name: string;
  /** What chose it, for `--verbose` and for errors. */
  readonly from: string;
  /** Undefined: as the host name says. */
  readonly registryKind: RegistryKindName | undefined;
  readonly plainHttp: boolean;
}

const DEFAULT_REGISTRY = 'ghcr.io';
const REPOSITORY_SUFFIX = 'nix-cache';

/** `argument`, where a command has one, comes before all else. @throws {NixcacheError} ERR_USAGE */
export function resolveCache(sources: Sources<CacheFlags>, argument?: Given<string>): CacheSetting {
  const { flags, env, config } = sources;
  const given = argument ??
    cacheFlag(flags) ??
    fromEnv(env, 'NIXCACHE_CACHE') ??
    fromConfig(config, 'cache', config.settings.cache) ??
    ofRepository(sources, fromEnv(env, 'NIXCACHE_REPO')) ??
    (variable(env, 'GITHUB_ACTIONS') === 'true'
      ? ofRepository(sources, fromEnv(env, 'GITHUB_REPOSITORY'))
      : undefined) ?? { value: `oci:${join(dataHome(env), 'nixcache')}`, from: 'the default' };
  const kind = pick(
    fromFlag('--registry-kind', flags.registryKind),
    fromEnv(env, 'NIXCACHE_REGISTRY_KIND'),
    fromConfig(config, 'registry_kind', config.settings.registry_kind),
  );
  const reference = parseAbsolute(given, sources);
  return {
    reference,
    name: formatReference(reference),
    from: given.from,
    registryKind: kind && read(kind, parseRegistryKindName),
    plainHttp: flags.plainHttp ?? config.settings.plain_http ?? false,
  };
}

function cacheFlag(flags: CacheFlags): Given<string> | undefined {
  const given = [fromFlag('--cache', flags.cache), fromFlag('--to', flags.to), fromFlag('--from', flags.from)];
  const [first, second] = given.filter((flag) => flag !== undefined);
  if (first !== undefined && second !== undefined && first.value !== second.value) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${first.from} ${first.value} and ${second.from} ${second.value} name two caches: give one of them`,
    );
  }
  return first;
}

/** `owner/repo` → `ghcr.io/owner/repo/nix-cache` */
function ofRepository(sources: Sources, repository: Given<string> | undefined): Given<string> | undefined {
  if (repository === undefined) return undefined;
  const { value, from } = repository;
  if (!/^[\w.-]+(?:\/[\w.-]+)+$/.test(value)) {
    throw new NixcacheError('ERR_USAGE', `${from}: '${value}' is not a repository: write it like owner/repo`);
  }
  const registry = variable(sources.env, 'NIXCACHE_REGISTRY') ?? DEFAULT_REGISTRY;
  return { value: `${registry}/${value}/${REPOSITORY_SUFFIX}`, from };
}

function parseAbsolute(given: Given<string>, { cwd, env }: Sources): CacheReference {
  const reference = read(given, parseReference);
  if (reference.kind !== 'layout') return reference;
  return { ...reference, path: absolutePath(reference.path, { cwd: given.directory ?? cwd, env }) };
}

export interface IndexDirectoryFlags {
  readonly indexDir?: string | undefined;
}

/**
 * Where the last known index of the cache is kept. A directory that the user names is taken as it is; below systemd's
 * CacheDirectory= and the user's cache each reference has its own, so that changing the reference mixes nothing.
 */
export function resolveIndexDirectory(sources: Sources<IndexDirectoryFlags>, reference: string): string {
  const { flags, env, config, cwd } = sources;
  const given = pick(
    fromFlag('--index-dir', flags.indexDir),
    fromEnv(env, 'NIXCACHE_INDEX_DIR'),
    fromConfig(config, 'serve.index_dir', config.settings.serve?.index_dir),
  );
  if (given !== undefined) return absolutePath(given.value, { cwd: given.directory ?? cwd, env });
  return ownIndexDirectory(sources, reference);
}

/** The same for commands that are not `serve`, whose directory may be for another cache. */
export const ownIndexDirectory = (sources: Sources, reference: string): string =>
  join(cacheRoot(sources), cacheKey(reference));

/** The directory for whatever may be lost. systemd lists several with colons; the first is ours. */
export function cacheRoot({ env, cwd }: Sources): string {
  const ofUnit = variable(env, 'CACHE_DIRECTORY')?.split(':', 1)[0];
  return ofUnit === undefined ? join(cacheHome(env), 'nixcache') : absolutePath(ofUnit, { cwd, env });
}

/** A file name for a reference: readable, and unique by its hash. */
export function cacheKey(reference: string): string {
  const readable = reference
    .replaceAll('/', '--')
    .replaceAll(/[^\w.-]+/g, '-')
    .replaceAll(/^[.-]+/g, '')
    .slice(-80);
  const unique = createHash('sha256').update(reference).digest('hex').slice(0, 12);
  return `${readable}-${unique}`;
}
