/** What `discover`, `publish` and `push` are told. */
import { join } from 'node:path';
import { NixcacheError } from '../errors.ts';
import { DEFAULT_KINDS, KINDS } from '../nix-store/flake-expression.ts';
import { assertFlakeReference } from '../nix-store/flake-reference.ts';
import { parseCompression } from './compression.ts';
import {
  parseAttr,
  parseKinds,
  parsePair,
  parseRegExp,
  parseRootName,
  parseRunners,
  parseSystems,
  parseUpstreamFailure,
} from './output-values.ts';
import {
  fromConfig,
  given,
  NO_CONFIG,
  resolveAll,
  type Setting,
  type SettingTable,
  type Sources,
  type Values,
} from './setting.ts';
import { BYTE_SIZE, checked, DURATION, integer, ON, PATH, SWITCH, TEXTS, text, texts } from './setting-types.ts';
import { SIGNING_KEYS } from './signing-keys.ts';
import { UPSTREAMS } from './upstreams.ts';

/** Of the argument, else this. A path is relative to the file. */
export const FLAKE = { type: text((flake) => flake), key: 'publish.flake' } as const satisfies Setting;

const NO_FLAKE = 'Without a flake:';

/** What takes the place of a flake. */
export const NIX_FILE = {
  file: {
    ...{ type: PATH, flag: '-f, --file <file>', key: 'publish.file', group: NO_FLAKE },
    help: 'take the derivations of this Nix expression, as nix-build does',
  },
  /** None: all of it. */
  attrs: {
    ...{ type: texts((paths) => paths.map(parseAttr), []), flag: '-A, --attr <attr>', key: 'publish.attrs' },
    ...{ help: 'of these, only what is at this attribute path', group: NO_FLAKE },
  },
} as const satisfies SettingTable;

/** Which outputs of a flake. */
export const DISCOVER = {
  kinds: {
    ...{ type: texts(parseKinds, DEFAULT_KINDS), flag: '--kinds <kinds>', key: 'publish.kinds' },
    ...{
      help: `kinds of outputs, with commas: ${KINDS.join(', ')}, all`,
      note: `default: ${DEFAULT_KINDS.join(', ')}`,
    },
  },
  /** None: the system of this machine. `all`: every one that the flake has. */
  systems: {
    ...{ type: texts(parseSystems, []), flag: '--system <system>', key: 'publish.systems' },
    help: 'system to look at instead of this one, or all',
  },
  /** Globs over attribute paths; none: all. */
  only: {
    type: TEXTS,
    flag: '--only <glob>',
    key: 'publish.only',
    help: 'only outputs whose attribute path is like this',
  },
  exclude: {
    type: TEXTS,
    flag: '--exclude <glob>',
    key: 'publish.exclude',
    help: 'no outputs whose attribute path is like this',
  },
} as const satisfies SettingTable;

/** Name and value in one: `main` joins the two words that flags like `--option NAME VALUE` take, as Nix has them. */
const pairs = (flag: string, words: string) =>
  texts((given) => given.map((pair) => parsePair(pair, flag, words)), [] as readonly (readonly [string, string])[]);

const NIX = 'Passed on to Nix:';

/** What `nix build` takes too. */
export const EVALUATION = {
  overrideInputs: {
    ...{ type: pairs('--override-input', 'NAME FLAKE'), flag: '--override-input <name flake>', group: NIX },
    help: 'use another flake for an input',
  },
  impure: { type: SWITCH, flag: '--impure', group: NIX, help: 'let the evaluation see the environment and files' },
  nixOptions: {
    ...{ type: pairs('--option', 'NAME VALUE'), flag: '--option <name value>', group: NIX },
    help: 'set a setting of nix.conf',
  },
  acceptFlakeConfig: {
    ...{ type: SWITCH, flag: '--accept-flake-config', group: NIX },
    help: 'take on the nixConfig of the flake',
  },
} as const satisfies SettingTable;

/** The flags above that take two words. */
export const TWO_WORD_FLAGS: readonly string[] = ['--override-input', '--option'];

export const MATRIX = {
  matrix: {
    ...{ type: SWITCH, flag: '--matrix' },
    help: 'print a GitHub Actions matrix: one entry per system, with a runner for it',
  },
  runners: {
    ...{ type: texts(parseRunners, new Map()), flag: '--runner <system=labels>', key: 'publish.runners' },
    help: 'in the matrix, runner labels for a system, with commas',
    note: 'default: those of GitHub, for systems that it has runners for',
  },
} as const satisfies SettingTable;

const DIFF = 'What is published:';
const SIGN = 'Signing and packing:';

export const COMPRESSION = {
  type: checked('"zstd", "zstd:LEVEL" with a level from 1 to 22, "xz" or "none"', parseCompression),
  ...{ flag: '--compression <method>', key: 'publish.compression', default: 'zstd', group: SIGN },
  help: 'zstd[:LEVEL], xz or none',
} as const satisfies Setting;

/** What gc keeps, and what publish reckons with: it asserts again what was asserted longer ago than half of this. */
export const RETAIN = { type: DURATION, key: 'retain', default: '30d' } as const satisfies Setting;

export const PUSH = {
  upstreams: {
    ...{ ...UPSTREAMS, help: 'leave out what this cache has', group: DIFF },
    no: 'publish the whole closure: a cache that needs no other',
  },
  /** What to do with paths that no upstream could be asked about. */
  onUpstreamFailure: {
    ...{
      type: checked('"push" or "fail"', parseUpstreamFailure),
      flag: '--on-upstream-failure <action>',
      default: 'push',
    },
    ...{ key: 'publish.on_upstream_failure', group: DIFF },
    help: 'push: publish what an upstream could not be asked about; fail: stop',
  },
  withBuildDeps: {
    ...{ type: SWITCH, flag: '--with-build-deps', key: 'publish.with_build_deps', group: DIFF },
    help: 'publish what is needed to build as well, as far as this store has it',
  },
  excludePaths: {
    ...{ type: texts((list) => list.map(parseRegExp), []), flag: '--exclude-path <regex>', group: DIFF },
    ...{ key: 'publish.exclude_paths', help: 'leave out store paths that match' },
  },
  /** Before compression. */
  maxNarBytes: {
    ...{ type: BYTE_SIZE, flag: '--max-nar-size <size>', key: 'publish.max_nar_size', group: DIFF },
    help: 'leave out larger NARs, like 500M or 2GiB',
  },
  dryRun: {
    ...{ type: SWITCH, flag: '--dry-run', group: DIFF },
    help: 'print what would be published, and publish nothing',
  },
  /** None: published unsigned. */
  signingKeys: { ...SIGNING_KEYS, group: SIGN },
  requireSigning: {
    ...{ type: SWITCH, flag: '--require-signing', key: 'publish.require_signing', group: SIGN },
    help: 'fail when there is no key',
  },
  compression: COMPRESSION,
  jobs: {
    ...{ type: integer(1, 256, 'a number of jobs'), flag: '--jobs <n>', key: 'publish.jobs', group: SIGN },
    ...{ help: 'NARs to compress at once', note: 'default: one for each CPU' },
  },
  retainSeconds: RETAIN,
} as const satisfies SettingTable;

/** What the pushed paths are roots of. */
export const ROOT_NAME = {
  rootName: {
    ...{ type: text(parseRootName), flag: '--name <name>', note: 'default: the name of each path' },
    help: 'name of the root that the paths become',
  },
} as const satisfies SettingTable;

export const BUILD = {
  build: { type: ON, flag: '--no-build', help: 'publish what is in the store already, and build nothing' },
} as const satisfies SettingTable;

/** A flake reference, or a Nix expression without a flake, by its absolute path. */
type OutputSource = string | { readonly file: string };

export type DiscoverSettings = Values<typeof DISCOVER & typeof EVALUATION & typeof MATRIX> & {
  readonly source: OutputSource;
  /** Attribute paths in a Nix expression without a flake; none: all of it. */
  readonly attrs: readonly (readonly string[])[];
};
export type PushSettings = Values<typeof PUSH & typeof ROOT_NAME>;
export type PublishSettings = Omit<DiscoverSettings, 'matrix' | 'runners'> & PushSettings & Values<typeof BUILD>;

/** `hasFlake` says whether a directory has a flake.nix. @throws {NixcacheError} ERR_USAGE */
export const publishSettings = (
  flake: string | undefined,
  sources: Sources,
  hasFlake: (directory: string) => boolean,
): PublishSettings => ({
  ...discoverSettings(flake, sources, hasFlake),
  ...pushSettings(sources),
  ...resolveAll(BUILD, sources),
});

/** @throws {NixcacheError} ERR_USAGE */
export const discoverSettings = (
  flake: string | undefined,
  sources: Sources,
  hasFlake: (directory: string) => boolean,
): DiscoverSettings => ({
  ...resolveSource(flake, sources, hasFlake),
  ...resolveAll({ ...DISCOVER, ...EVALUATION, ...MATRIX }, sources),
});

/** An argument or a flag counts before the config file. */
function resolveSource(
  flake: string | undefined,
  sources: Sources,
  hasFlake: (directory: string) => boolean,
): Pick<DiscoverSettings, 'source' | 'attrs'> {
  const flags = { ...sources, config: NO_CONFIG };
  const isFile = given(NIX_FILE.file, flags) !== undefined;
  const isInConfig = (setting: Setting): boolean => fromConfig(setting, sources) !== undefined;
  if (flake !== undefined && isFile) {
    throw new NixcacheError('ERR_USAGE', `--file is instead of a flake: give it, or ${flake}, but not both`);
  }
  if (!isFile && flake === undefined && isInConfig(NIX_FILE.file) && isInConfig(FLAKE)) {
    const where = sources.config.file;
    throw new NixcacheError(
      'ERR_USAGE',
      `publish.file in ${where} is instead of a flake: take it out, or publish.flake`,
    );
  }
  if (flake !== undefined) assertFlakeReference(flake);
  const { file, attrs } = resolveAll(NIX_FILE, flake === undefined ? sources : flags);
  if (file === undefined) {
    if (attrs.length === 0) return { source: flake ?? resolveFlake(sources, hasFlake), attrs };
    throw new NixcacheError('ERR_USAGE', '--attr is for --file FILE; of a flake, --only picks outputs');
  }
  for (const [setting, instead] of [
    [DISCOVER.kinds, '--attr picks a part of it'],
    [EVALUATION.overrideInputs, 'it has no inputs'],
    [EVALUATION.acceptFlakeConfig, 'it has no nixConfig'],
  ] as const) {
    const found = given(setting, flags);
    if (found !== undefined)
      throw new NixcacheError('ERR_USAGE', `${found.from} is for flakes, not for --file: ${instead}`);
  }
  return { source: { file }, attrs };
}

/** @throws {NixcacheError} ERR_USAGE */
export function pushSettings(sources: Sources): PushSettings {
  const settings = resolveAll({ ...PUSH, ...ROOT_NAME }, sources);
  if (settings.requireSigning && settings.signingKeys.length === 0) {
    throw new NixcacheError(
      'ERR_USAGE',
      'signing is required, and there is no key: give --key-file FILE or set NIXCACHE_SIGNING_KEY',
    );
  }
  return settings;
}

function resolveFlake(sources: Sources, hasFlake: (directory: string) => boolean): string {
  const { cwd } = sources;
  const configured = fromConfig(FLAKE, sources);
  if (configured !== undefined) {
    const flake = String(configured.value);
    return flake === '.' || /^\.{0,2}\//.test(flake) ? join(configured.directory ?? cwd, flake) : flake;
  }
  const found = ['.', './config'].find((directory) => hasFlake(join(cwd, directory)));
  if (found !== undefined) return found;
  throw new NixcacheError(
    'ERR_USAGE',
    `there is no flake.nix in ${cwd} nor in its config/; go to a flake or name one: nixcache publish FLAKE; a Nix expression without a flake: --file FILE`,
  );
}
