/** What `copy` is told, made into plain values. */
import { NixcacheError } from '../errors.ts';
import { type PublicKey, parsePublicKey } from '../nix/signature.ts';
import { type CacheFlags, type CacheSetting, resolveCache } from './cache-reference.ts';
import { parseInteger, read, type Sources } from './resolve.ts';
import { resolveSigningKeys, type SigningKeyFlags, type SigningKeySource } from './signing-keys.ts';
import { resolveUpstreams, type UpstreamFlags, type UpstreamSetting } from './upstreams.ts';

export interface CopyFlags extends CacheFlags, SigningKeyFlags, UpstreamFlags {
  readonly path?: readonly string[] | undefined;
  readonly rootsOnly?: boolean | undefined;
  readonly jobs?: string | undefined;
  readonly trustedPublicKey?: readonly string[] | undefined;
  /** False for `--no-check-sigs`. */
  readonly checkSigs?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface CopySettings {
  readonly source:
    | { readonly kind: 'cache'; readonly cache: CacheSetting }
    | { readonly kind: 'upstream'; readonly upstream: UpstreamSetting };
  readonly destination: CacheSetting;
  /** As written: store paths, or `-` for standard input. None: everything. */
  readonly paths: readonly string[];
  readonly rootsOnly: boolean;
  readonly jobs: number;
  /** None: entries are taken as they are. */
  readonly trustedKeys: readonly PublicKey[];
  readonly signingKeys: readonly SigningKeySource[];
  readonly dryRun: boolean;
}

/** Blobs on their way at once: a registry's patience, and enough to hide 50 ms of latency. */
const DEFAULT_JOBS = 8;
const MAX_JOBS = 256;
const UPSTREAM = /^(?:https?|file):/i;

/** @throws {NixcacheError} ERR_USAGE, ERR_KEY */
export function copySettings(source: string, destination: string, sources: Sources<CopyFlags>): CopySettings {
  const { flags } = sources;
  if (UPSTREAM.test(destination)) {
    throw new NixcacheError(
      'ERR_USAGE',
      'a copy goes into a cache, not into a binary cache at a URL: write ghcr.io/OWNER/REPO/nix-cache or oci:PATH',
    );
  }
  const from = UPSTREAM.test(source) ? upstreamSource(source, sources) : cacheSource(source, sources);
  const paths = flags.path ?? [];
  if (flags.rootsOnly === true) {
    if (paths.length > 0) throw new NixcacheError('ERR_USAGE', '--roots-only and --path exclude each other');
    if (from.kind === 'upstream') {
      throw new NixcacheError('ERR_USAGE', '--roots-only: a binary cache knows no roots; name paths with --path');
    }
  }
  if (from.kind === 'upstream' && paths.length === 0 && !from.upstream.url.startsWith('file:')) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${from.upstream.url} cannot be listed: name what to copy, --path /nix/store/…, or --path - to read paths`,
    );
  }
  return {
    source: from,
    destination: resolveCache(sources, { value: destination, from: 'DST' }),
    paths,
    rootsOnly: flags.rootsOnly ?? false,
    jobs:
      flags.jobs === undefined
        ? DEFAULT_JOBS
        : read({ value: flags.jobs, from: '--jobs' }, (value) => parseInteger(value, 1, MAX_JOBS, 'a number of jobs')),
    trustedKeys: trustedKeys(from, flags),
    // Only where it is asked for: a signed copy is not one byte for byte.
    signingKeys: flags.keyFile === undefined ? [] : resolveSigningKeys(sources),
    dryRun: flags.dryRun ?? false,
  };
}

function cacheSource(source: string, sources: Sources<CopyFlags>): CopySettings['source'] {
  // The kind that is given is the destination's, whose limits it says.
  const flags = { ...sources.flags, registryKind: undefined };
  return { kind: 'cache', cache: resolveCache({ ...sources, flags }, { value: source, from: 'SRC' }) };
}

function upstreamSource(source: string, sources: Sources<CopyFlags>): CopySettings['source'] {
  const [upstream] = resolveUpstreams({ ...sources, flags: { upstream: [source] } });
  if (!upstream) throw new Error('an upstream that is named is resolved');
  return { kind: 'upstream', upstream };
}

/** What comes over the network from a binary cache must be signed, by its own keys unless others are named. */
function trustedKeys(source: CopySettings['source'], flags: CopyFlags): readonly PublicKey[] {
  if (flags.checkSigs === false) {
    if (flags.trustedPublicKey === undefined) return [];
    throw new NixcacheError('ERR_USAGE', '--trusted-public-key and --no-check-sigs exclude each other');
  }
  if (flags.trustedPublicKey !== undefined) {
    return read({ value: flags.trustedPublicKey, from: '--trusted-public-key' }, (keys) => keys.map(parsePublicKey));
  }
  if (source.kind === 'cache' || source.upstream.url.startsWith('file:')) return [];
  if (source.upstream.publicKeys.length > 0) return source.upstream.publicKeys;
  throw new NixcacheError(
    'ERR_USAGE',
    `the keys of ${source.upstream.url} are not known: give --trusted-public-key NAME:BASE64, or --no-check-sigs to take what nobody vouches for`,
  );
}
