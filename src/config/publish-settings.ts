/** What `publish` and `push` are told: flags, environment and config file, made into plain values. */
import { join } from 'node:path';
import { NixcacheError } from '../errors.ts';
import { DEFAULT_KINDS, KINDS, type OutputKind } from '../nix-store/flake-expression.ts';
import { parseByteSize } from './byte-size.ts';
import { type CompressionSetting, parseCompression } from './compression.ts';
import { parseDuration } from './duration.ts';
import { fromConfig, fromFlag, type Given, parseInteger, pick, read, type Sources } from './resolve.ts';
import { resolveSigningKeys, type SigningKeyFlags, type SigningKeySource } from './signing-keys.ts';
import { suggest } from './suggestion.ts';
import { resolveUpstreams, type UpstreamFlags, type UpstreamSetting } from './upstreams.ts';

export interface DiscoverFlags {
  readonly kinds?: readonly string[] | undefined;
  readonly system?: readonly string[] | undefined;
  readonly only?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

export interface DiscoverSettings {
  readonly flake: string;
  readonly kinds: readonly OutputKind[];
  /** None: the system of this machine. `all`: every one that the flake has. */
  readonly systems: readonly string[] | 'all';
  /** Globs over attribute paths; none: all. */
  readonly only: readonly string[];
  readonly exclude: readonly string[];
}

export interface PushFlags extends UpstreamFlags, SigningKeyFlags {
  readonly withBuildDeps?: boolean | undefined;
  readonly excludePath?: readonly string[] | undefined;
  readonly maxNarSize?: string | undefined;
  readonly dryRun?: boolean | undefined;
  readonly requireSigning?: boolean | undefined;
  readonly compression?: string | undefined;
  readonly onUpstreamFailure?: string | undefined;
  readonly jobs?: string | undefined;
  readonly name?: string | undefined;
  readonly retain?: string | undefined;
}

export interface PushSettings {
  readonly upstreams: readonly UpstreamSetting[];
  /** What to do with paths that no upstream could be asked about. */
  readonly onUpstreamFailure: 'push' | 'fail';
  readonly withBuildDeps: boolean;
  /** Store paths that match one of these are left out. */
  readonly excludePaths: readonly RegExp[];
  /** Larger NARs are left out; bytes before compression. */
  readonly maxNarBytes: number | undefined;
  readonly dryRun: boolean;
  readonly compression: CompressionSetting;
  /** None: published unsigned. */
  readonly signingKeys: readonly SigningKeySource[];
  /** NARs at work at once; undefined leaves it to the publisher. */
  readonly jobs: number | undefined;
  /** Entries asserted longer ago than half of this are asserted again. */
  readonly retainSeconds: number;
  /** `push --name`: what the pushed paths are roots of. */
  readonly rootName: string | undefined;
}

export interface PublishFlags extends DiscoverFlags, PushFlags {
  readonly build?: boolean | undefined;
}

export interface PublishSettings extends DiscoverSettings, PushSettings {
  /** False: publishes what is in the store already. */
  readonly build: boolean;
}

const DEFAULT_RETAIN = '30d';
const MAX_JOBS = 256;

/** `hasFlake` says whether a directory has a flake.nix. @throws {NixcacheError} ERR_USAGE */
export function publishSettings(
  flake: string | undefined,
  sources: Sources<PublishFlags>,
  hasFlake: (directory: string) => boolean,
): PublishSettings {
  return {
    ...discoverSettings(flake, sources, hasFlake),
    ...pushSettings(sources),
    build: sources.flags.build ?? true,
  };
}

/** @throws {NixcacheError} ERR_USAGE */
export function discoverSettings(
  flake: string | undefined,
  sources: Sources<DiscoverFlags>,
  hasFlake: (directory: string) => boolean,
): DiscoverSettings {
  const { flags, config } = sources;
  const publish = config.settings.publish ?? {};
  const list = (flag: string, given: readonly string[] | undefined, key: string, set: readonly string[] | undefined) =>
    pick(fromFlag(flag, given), fromConfig(config, `publish.${key}`, set));
  const kinds = list('--kinds', flags.kinds, 'kinds', publish.kinds);
  const systems = list('--system', flags.system, 'systems', publish.systems);
  return {
    flake: resolveFlake(flake, sources, hasFlake),
    kinds: kinds === undefined ? DEFAULT_KINDS : read(kinds, parseKinds),
    systems: systems === undefined ? [] : read(systems, parseSystems),
    only: list('--only', flags.only, 'only', publish.only)?.value ?? [],
    exclude: list('--exclude', flags.exclude, 'exclude', publish.exclude)?.value ?? [],
  };
}

function resolveFlake(
  argument: string | undefined,
  { config, cwd }: Sources,
  hasFlake: (directory: string) => boolean,
): string {
  if (argument !== undefined) return argument;
  const configured = config.settings.publish?.flake;
  if (configured !== undefined) {
    const isPath = configured === '.' || /^\.{0,2}\//.test(configured);
    return isPath ? join(config.directory ?? cwd, configured) : configured;
  }
  const found = ['.', './config'].find((directory) => hasFlake(join(cwd, directory)));
  if (found !== undefined) return found;
  throw new NixcacheError(
    'ERR_USAGE',
    `there is no flake.nix in ${cwd} nor in its config/; go to a flake or name one: nixcache publish FLAKE`,
  );
}

function parseKinds(given: readonly string[]): readonly OutputKind[] {
  const names = given.flatMap((list) => list.split(/[\s,]+/)).filter((name) => name !== '');
  if (names.includes('all')) return KINDS;
  const kinds = names.map((name) => {
    const kind = KINDS.find((known) => known === name);
    if (kind !== undefined) return kind;
    const meant = suggest(name, KINDS);
    const help = meant === undefined ? `there are ${KINDS.join(', ')} and all` : `did you mean '${meant}'?`;
    throw new NixcacheError('ERR_USAGE', `'${name}' is not a kind of flake output, ${help}`);
  });
  if (kinds.length > 0) return [...new Set(kinds)];
  throw new NixcacheError('ERR_USAGE', `no kind of flake output is given; there are ${KINDS.join(', ')} and all`);
}

function parseSystems(given: readonly string[]): readonly string[] | 'all' {
  const systems = given.flatMap((list) => list.split(/[\s,]+/)).filter((name) => name !== '');
  if (systems.includes('all')) return 'all';
  for (const system of systems) {
    if (!/^[a-z0-9_]+-[a-z0-9_]+$/.test(system)) {
      throw new NixcacheError('ERR_USAGE', `'${system}' is not a system: write it like x86_64-linux or aarch64-darwin`);
    }
  }
  return [...new Set(systems)];
}

/** @throws {NixcacheError} ERR_USAGE */
export function pushSettings(sources: Sources<PushFlags>): PushSettings {
  const { flags, config } = sources;
  const publish = config.settings.publish ?? {};
  const given = <T>(flag: string, value: T | undefined, key: string, set: T | undefined): Given<T> | undefined =>
    pick(fromFlag(flag, value), fromConfig(config, `publish.${key}`, set));
  const compression = given('--compression', flags.compression, 'compression', publish.compression);
  const excludePaths = given('--exclude-path', flags.excludePath, 'exclude_paths', publish.exclude_paths);
  const maxNar = given<string | number>('--max-nar-size', flags.maxNarSize, 'max_nar_size', publish.max_nar_size);
  const jobs = given<string | number>('--jobs', flags.jobs, 'jobs', publish.jobs);
  const failure = given(
    '--on-upstream-failure',
    flags.onUpstreamFailure,
    'on_upstream_failure',
    publish.on_upstream_failure,
  );
  const signingKeys = resolveSigningKeys(sources);
  if ((flags.requireSigning ?? publish.require_signing ?? false) && signingKeys.length === 0) {
    throw new NixcacheError(
      'ERR_USAGE',
      'signing is required, and there is no key: give --key-file FILE or set NIXCACHE_SIGNING_KEY',
    );
  }
  return {
    upstreams: resolveUpstreams(sources),
    onUpstreamFailure: failure === undefined ? 'push' : read(failure, parseUpstreamFailure),
    withBuildDeps: flags.withBuildDeps ?? publish.with_build_deps ?? false,
    excludePaths: excludePaths === undefined ? [] : read(excludePaths, (list) => list.map(parseRegExp)),
    maxNarBytes: maxNar === undefined ? undefined : read(maxNar, (size) => parseByteSize(String(size))),
    dryRun: flags.dryRun ?? false,
    compression: compression === undefined ? { method: 'zstd', level: undefined } : read(compression, parseCompression),
    signingKeys,
    jobs: jobs === undefined ? undefined : read(jobs, (value) => parseInteger(value, 1, MAX_JOBS, 'a number of jobs')),
    retainSeconds: resolveRetention(sources),
    rootName: flags.name === undefined ? undefined : read({ value: flags.name, from: '--name' }, parseRootName),
  };
}

/** The retention in seconds: what gc keeps, and what publish reckons with. */
export function resolveRetention({ flags, config }: Sources<{ readonly retain?: string | undefined }>): number {
  const given = pick(fromFlag('--retain', flags.retain), fromConfig(config, 'retain', config.settings.retain));
  return read(given ?? { value: DEFAULT_RETAIN, from: 'the default' }, (text) => parseDuration(text));
}

function parseUpstreamFailure(text: string): 'push' | 'fail' {
  if (text === 'push' || text === 'fail') return text;
  throw new NixcacheError('ERR_USAGE', `'${text}' is neither push (what cannot be asked about) nor fail`);
}

function parseRegExp(text: string): RegExp {
  try {
    return new RegExp(text, 'u');
  } catch (error) {
    throw new NixcacheError('ERR_USAGE', `'${text}' is not a regular expression`, { cause: error });
  }
}

function parseRootName(text: string): string {
  if (/^[^\s\p{C}]{1,200}$/u.test(text)) return text;
  throw new NixcacheError('ERR_USAGE', `'${text}' cannot name a root: use up to 200 characters without spaces`);
}
