/** What `copy` is told. */
import { NixcacheError } from '../errors.ts';
import { type PublicKey, parsePublicKey } from '../nix/signature.ts';
import { type CacheSetting, resolveCache } from './cache-reference.ts';
import { resolveAll, type SettingTable, type Sources } from './setting.ts';
import { integer, ON, PATHS, SWITCH, TEXTS, texts } from './setting-types.ts';
import type { SigningKeySource } from './signing-keys.ts';
import { resolveUpstreams, type UpstreamSetting } from './upstreams.ts';

export const COPY = {
  names: {
    ...{ type: TEXTS, flag: '--root <name>' },
    help: "copy what the root or pin of this name stands for now, with all that it refers to; globs like 'packages.*'",
  },
  trustedKeys: {
    ...{ type: texts((keys): readonly PublicKey[] | undefined => keys.map(parsePublicKey), undefined) },
    ...{
      flag: '--trusted-public-key <key>',
      note: 'default for http: public_keys of the config file, or those known of cache.nixos.org',
    },
    help: 'copy nothing that no such key signed, as name:base64, and replace what such a key did not sign at the destination',
  },
  checkSigs: { type: ON, flag: '--no-check-sigs', help: 'copy from an http cache what nobody signed' },
  // Only where it is asked for: a signed copy is not one byte for byte.
  keyFiles: { type: PATHS, flag: '--key-file <file>', help: 'sign with this secret key too' },
  /** Blobs on their way at once: a registry's patience, and enough to hide 50 ms of latency. */
  jobs: {
    ...{ type: integer(1, 256, 'a number of jobs'), flag: '--jobs <n>', default: '8' },
    help: 'how much is on its way at once',
  },
  dryRun: { type: SWITCH, flag: '--dry-run', help: 'count what would be copied, and copy nothing' },
} as const satisfies SettingTable;

export interface CopySettings {
  readonly source:
    | { readonly kind: 'cache'; readonly cache: CacheSetting }
    | { readonly kind: 'upstream'; readonly upstream: UpstreamSetting };
  readonly destination: CacheSetting;
  /** Names of roots and pins, or globs over them. */
  readonly names: readonly string[];
  readonly jobs: number;
  /** None: entries are taken as they are. */
  readonly trustedKeys: readonly PublicKey[];
  readonly signingKeys: readonly SigningKeySource[];
  readonly dryRun: boolean;
}

const UPSTREAM = /^(?:https?|file):/i;

/** Of the arguments SRC, DST, and paths. @throws {NixcacheError} ERR_USAGE, ERR_KEY */
export function copySettings(
  [source = '', destination = '', ...paths]: readonly string[],
  sources: Sources,
): CopySettings {
  const { keyFiles, trustedKeys, checkSigs, ...settings } = resolveAll(COPY, sources);
  if (UPSTREAM.test(destination)) {
    throw new NixcacheError(
      'ERR_USAGE',
      'a copy goes into a cache, not into a binary cache at a URL: write ghcr.io/OWNER/REPO/nix-cache or oci:PATH',
    );
  }
  const from = UPSTREAM.test(source) ? upstreamSource(source, sources) : cacheSource(source, sources);
  if (from.kind === 'upstream' && settings.names.length > 0) {
    throw new NixcacheError(
      'ERR_USAGE',
      `--root: a binary cache knows no roots; name store paths after ${destination}`,
    );
  }
  if (from.kind === 'upstream' && paths.length === 0 && !from.upstream.url.startsWith('file:')) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${from.upstream.url} cannot be listed: name store paths after ${destination}, or - to read them from standard input`,
    );
  }
  return {
    ...settings,
    source: from,
    destination: resolveCache(sources, { value: destination, from: 'DST' }),
    trustedKeys: trustedKeysOf(from, trustedKeys, checkSigs),
    signingKeys: keyFiles.map((file) => ({ from: '--key-file', file })),
  };
}

function cacheSource(source: string, sources: Sources): CopySettings['source'] {
  // The kind that is given is the destination's, whose limits it says.
  const flags = { ...sources.flags, registryKind: undefined };
  return { kind: 'cache', cache: resolveCache({ ...sources, flags }, { value: source, from: 'SRC' }) };
}

function upstreamSource(source: string, sources: Sources): CopySettings['source'] {
  const [upstream] = resolveUpstreams({ ...sources, flags: { upstream: [source] } });
  if (!upstream) throw new Error('an upstream that is named is resolved');
  return { kind: 'upstream', upstream };
}

/** What comes over the network from a binary cache must be signed, by its own keys unless others are named. */
function trustedKeysOf(
  source: CopySettings['source'],
  named: readonly PublicKey[] | undefined,
  checkSigs: boolean,
): readonly PublicKey[] {
  if (named !== undefined && !checkSigs) {
    throw new NixcacheError('ERR_USAGE', '--trusted-public-key and --no-check-sigs exclude each other');
  }
  if (named !== undefined) return named;
  if (!checkSigs || source.kind === 'cache' || source.upstream.url.startsWith('file:')) return [];
  if (source.upstream.publicKeys.length > 0) return source.upstream.publicKeys;
  throw new NixcacheError(
    'ERR_USAGE',
    `the keys of ${source.upstream.url} are not known: give --trusted-public-key NAME:BASE64, or --no-check-sigs to take what nobody vouches for`,
  );
}
