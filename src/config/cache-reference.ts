/** Which cache is meant, and where what is known of it lies on this machine. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { absolutePath, cacheHome, dataHome, type Environment, variable } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { type CacheReference, formatReference, parseReference } from '../oci/reference.ts';
import { parseRegistryKindName, type RegistryKindName } from '../oci/remote/registry-kinds.ts';
import {
  type Given,
  given,
  NO_CONFIG,
  read,
  resolve,
  type Setting,
  type SettingTable,
  type Sources,
} from './setting.ts';
import { PATH, SWITCH, TEXT, text } from './setting-types.ts';

const group = 'Cache options:';
const ALIAS = { type: TEXT, help: 'the same as --cache', group } as const;

/** Which cache. `to` and `from` are other names for `cache`, for those who write and those who read. */
export const CACHE = {
  cache: {
    ...{ type: TEXT, flag: '--cache <ref>', env: 'NIXCACHE_CACHE', key: 'cache', group },
    help: 'the cache: ghcr.io/owner/repo/nix-cache or oci:PATH',
    note:
      'default: ghcr.io/OWNER/REPO/nix-cache of NIXCACHE_REPO=OWNER/REPO, or of the repository in GitHub Actions, in ' +
      'NIXCACHE_REGISTRY if set; else ~/.local/share/nixcache',
  },
  to: { ...ALIAS, flag: '--to <ref>' },
  from: { ...ALIAS, flag: '--from <ref>' },
  registryKind: {
    ...{ type: text(parseRegistryKindName), flag: '--registry-kind <kind>', env: 'NIXCACHE_REGISTRY_KIND' },
    ...{ key: 'registry_kind', help: 'treat the registry as ghcr, ecr, hub, zot, …', group },
  },
  plainHttp: {
    ...{ type: SWITCH, flag: '--plain-http', key: 'plain_http', group },
    help: 'speak http with the registry, without TLS',
  },
} as const satisfies SettingTable;

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
export function resolveCache(sources: Sources, argument?: Given<string>): CacheSetting {
  const found = argument ??
    cacheGiven(sources) ?? {
      value: `oci:${join(dataHome(sources.env), 'nixcache')}`,
      from: 'the default',
    };
  const registryKind = resolve(CACHE.registryKind, sources);
  const reference = parseAbsolute(found, sources);
  const plainHttp = resolve(CACHE.plainHttp, sources);
  if (plainHttp && reference.kind === 'registry' && reference.scheme === 'https') {
    throw new NixcacheError('ERR_USAGE', `${found.from}: https:// and --plain-http exclude each other`);
  }
  return { reference, name: formatReference(reference), from: found.from, registryKind, plainHttp };
}

function cacheGiven(sources: Sources): Given<string> | undefined {
  const { env } = sources;
  const found = aliasGiven(sources) ?? given(CACHE.cache, sources);
  if (found) return { ...found, value: String(found.value) };
  const inGithub = variable(env, 'GITHUB_ACTIONS') === 'true';
  const name = ['NIXCACHE_REPO', ...(inGithub ? ['GITHUB_REPOSITORY'] : [])].find((each) => variable(env, each));
  return name === undefined ? undefined : ofRepository(env, name);
}

/** The flag, by whichever of its names. */
function aliasGiven(sources: Sources): Given | undefined {
  const flags = { ...sources, env: {}, config: NO_CONFIG };
  const [first, second] = [CACHE.cache, CACHE.to, CACHE.from].flatMap((setting) => given(setting, flags) ?? []);
  if (first !== undefined && second !== undefined && first.value !== second.value) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${first.from} ${first.value} and ${second.from} ${second.value} name two caches: give one of them`,
    );
  }
  return first;
}

/** `owner/repo` in the variable `from` → `ghcr.io/owner/repo/nix-cache` */
function ofRepository(env: Environment, from: string): Given<string> {
  const value = variable(env, from) ?? '';
  if (!/^[\w.-]+(?:\/[\w.-]+)+$/.test(value)) {
    throw new NixcacheError('ERR_USAGE', `${from}: '${value}' is not a repository: write it like owner/repo`);
  }
  const registry = variable(env, 'NIXCACHE_REGISTRY') ?? DEFAULT_REGISTRY;
  return { value: `${registry}/${value}/${REPOSITORY_SUFFIX}`, from };
}

function parseAbsolute(given: Given<string>, { cwd, env }: Sources): CacheReference {
  const reference = read(given, parseReference);
  if (reference.kind !== 'layout') return reference;
  return { ...reference, path: absolutePath(reference.path, { cwd: given.directory ?? cwd, env }) };
}

export const INDEX_DIRECTORY = {
  ...{ type: PATH, flag: '--index-dir <dir>', env: 'NIXCACHE_INDEX_DIR', key: 'serve.index_dir' },
  help: 'where nixcache serve keeps the index between runs',
  note: 'default: below ~/.cache/nixcache, for each cache its own',
} as const satisfies Setting;

/**
 * Where `serve` keeps the last known index of the cache. A directory that the user names is taken as it is; below
 * systemd's CacheDirectory= and the user's cache each reference has its own, so that changing the reference mixes nothing.
 */
export const resolveIndexDirectory = (sources: Sources, reference: string): string =>
  resolve(INDEX_DIRECTORY, sources) ?? ownIndexDirectory(sources, reference);

/** The same for commands that are not `serve`, whose directory may be for another cache. */
export const ownIndexDirectory = (sources: Sources, reference: string): string =>
  join(cacheRoot(sources), cacheKey(reference));

/** The directory for whatever may be lost. systemd lists several with colons; the first is ours. */
function cacheRoot({ env, cwd }: Sources): string {
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
