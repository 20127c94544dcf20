/** What `verify` is told, made into plain values. */
import { NixcacheError } from '../errors.ts';
import { type CompressionSetting, parseCompression } from './compression.ts';
import { fromConfig, read, type Sources } from './resolve.ts';
import { resolveTrustedKeys } from './serve-settings.ts';
import { resolveSigningKeys, type SigningKeyFlags, type SigningKeySource } from './signing-keys.ts';
import { resolveUpstreams, type UpstreamFlags, type UpstreamSetting } from './upstreams.ts';

export interface VerifyFlags extends UpstreamFlags, SigningKeyFlags {
  readonly trustedPublicKey?: readonly string[] | undefined;
  readonly contents?: boolean | undefined;
  readonly repair?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
  readonly dropIncomplete?: boolean | undefined;
}

export interface VerifySettings {
  readonly upstreams: readonly UpstreamSetting[];
  /** `name:base64`; none: those that the cache itself names. */
  readonly trustedPublicKeys: readonly string[];
  readonly contents: boolean;
  readonly repair: boolean;
  readonly dryRun: boolean;
  readonly dropIncomplete: boolean;
  /** Of what a repair pushes. */
  readonly signingKeys: readonly SigningKeySource[];
  readonly compression: CompressionSetting;
}

/** @throws {NixcacheError} ERR_USAGE */
export function verifySettings(sources: Sources<VerifyFlags>): VerifySettings {
  const { flags, config } = sources;
  const repair = flags.repair ?? false;
  for (const [flag, isGiven] of [
    ['--dry-run', flags.dryRun],
    ['--drop-incomplete', flags.dropIncomplete],
  ] as const) {
    if (isGiven && !repair) throw new NixcacheError('ERR_USAGE', `${flag} is of use only with --repair`);
  }
  const compression = fromConfig(config, 'publish.compression', config.settings.publish?.compression);
  return {
    upstreams: resolveUpstreams(sources),
    trustedPublicKeys: resolveTrustedKeys(sources),
    contents: flags.contents ?? false,
    repair,
    dryRun: flags.dryRun ?? false,
    dropIncomplete: flags.dropIncomplete ?? false,
    signingKeys: resolveSigningKeys(sources),
    compression: compression === undefined ? { method: 'zstd', level: undefined } : read(compression, parseCompression),
  };
}
