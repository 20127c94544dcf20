/** From a flake to a cache that has its outputs: discover, build, then publish-paths.ts. */

import { NixcacheError } from '../errors.ts';
import { withOutput } from '../nix/attr-path.ts';
import { hashPartOf, type StorePath } from '../nix/store-path.ts';
import { type BuildReport, build } from '../nix-store/build.ts';
import type { BuildFailure } from '../nix-store/build-failure.ts';
import type { BuildEvent } from '../nix-store/build-log.ts';
import { type DiscoverOptions, type Discovery, discover } from '../nix-store/discover.ts';
import type { FlakeOutput } from '../nix-store/flake-output.ts';
import type { FlakeSource } from '../nix-store/flake-source.ts';
import type { NixCommand } from '../nix-store/nix-command.ts';
import { isFloating, realisationsBelow, withRealised } from '../nix-store/realisations.ts';
import { daemonTrust, trustRemedy } from '../nix-store/trust.ts';
import { asRoots, type PublishPathsResult, publishPaths } from './publish-paths.ts';
import type { PublishPathsOptions } from './publish-paths-options.ts';
import { withWholeClosure } from './whole-closures.ts';

export interface PublishOptions
  extends Omit<PublishPathsOptions, 'paths' | 'roots' | 'buildClosureOf' | 'cachedPaths' | 'source' | 'revision'>,
    Pick<DiscoverOptions, 'attrs' | 'kinds' | 'only' | 'exclude' | 'impure' | 'overrideInputs'> {
  /** A flake reference, or a Nix expression without a flake, by its absolute path. */
  readonly source: string | { readonly file: string };
  /** Empty: this machine's. */
  readonly systems: readonly string[];
  readonly command: NixCommand;
  /** False: what is in the store already is published, the rest is skipped. */
  readonly build: boolean;
  readonly withBuildDeps: boolean;
  /** Builds at once; undefined leaves it to Nix. */
  readonly maxJobs?: number | undefined;
  /** Files that must not lie in the flake's source. */
  readonly secretFiles: readonly string[];
  /** What roots name as their source instead of the flake's own reference. */
  readonly sourceName?: string | undefined;
  /** The same for all roots of this publish. */
  readonly run: string;
  /** Serves the cache to the builds, so that nothing is built that it has. */
  readonly startSubstituter?: (() => Promise<Substituter>) | undefined;
}

export interface Substituter {
  readonly url: string;
  readonly publicKeys: readonly string[];
  close(): Promise<void>;
}

export type OutputStatus = 'built' | 'present' | 'cached' | 'to-build' | 'skipped' | 'failed';

export interface OutputReport {
  readonly output: FlakeOutput;
  readonly status: OutputStatus;
  readonly failure?: BuildFailure | undefined;
}

export interface PublishResult extends PublishPathsResult {
  readonly source: FlakeSource;
  readonly outputs: readonly OutputReport[];
  readonly evaluationFailures: Discovery['failures'];
}

export async function publish(options: PublishOptions): Promise<PublishResult> {
  const { reader, signal, onEvent, command } = options;
  onEvent({ type: 'stage', stage: 'discover' });
  const [discovery] = await Promise.all([
    discover(options.source, {
      attrs: options.attrs,
      command,
      signal,
      keysInUse: { files: options.secretFiles, keys: options.keys },
      ...{ impure: options.impure, overrideInputs: options.overrideInputs },
      ...(options.kinds ? { kinds: options.kinds } : {}),
      ...(options.only ? { only: options.only } : {}),
      ...(options.exclude ? { exclude: options.exclude } : {}),
      ...(options.systems.length > 0 ? { systems: options.systems } : {}),
      onEvent: (event) => {
        if (event.type === 'failed') {
          const { attrPath, error } = event.failure;
          onEvent({ type: 'evaluation-failed', attrPath, error });
        } else if (event.type === 'unmatched' || event.type === 'config-ignored')
          onEvent({ type: 'warning', message: event.message });
      },
    }),
    reader.refresh({ signal }),
  ]);
  onEvent({ type: 'discovered', outputs: discovery.outputs });
  if (discovery.outputs.length === 0 && discovery.failures.length === 0) {
    throw new NixcacheError(
      'ERR_USAGE',
      `${typeof options.source === 'string' ? options.source : options.source.file} has nothing to publish for ${options.systems.join(', ') || 'this system'}; nixcache discover --system all lists what it has, --kinds asks for other kinds`,
    );
  }
  const { reports, release } = await realise(discovery.outputs, { ...options, command: discovery.command });
  try {
    const published = await publishPaths({
      ...options,
      ...selectPaths(reports, options.withBuildDeps),
      realisations: await findRealisations(discovery.outputs, reports, options),
      roots: asRoots(namedRoots(reports), {
        run: options.run,
        time: Math.floor(options.now().getTime() / 1000),
        source: options.sourceName ?? discovery.source.url,
        ...(discovery.source.revision === undefined ? {} : { revision: discovery.source.revision }),
      }),
      source: options.sourceName ?? discovery.source.url,
      revision: discovery.source.revision,
    });
    const skipped = reports.filter(({ output, status }) => status === 'skipped' && isUnsigned(output, options));
    const unsigned = [...published.unsigned, ...skipped.flatMap(({ output }) => pathsOf(output))];
    const { source, failures: evaluationFailures } = discovery;
    return { ...published, unsigned, source, outputs: reports, evaluationFailures };
  } finally {
    await release();
  }
}

/** Makes outputs valid, as far as they are not in the cache; the results stay rooted until `release`. */
async function realise(
  discovered: readonly FlakeOutput[],
  options: PublishOptions,
): Promise<{ readonly reports: readonly OutputReport[]; readonly release: () => Promise<void> }> {
  const { localStore, signal, onEvent } = options;
  const outputs = await withRealised(discovered, localStore, { signal });
  const findCached = (): ReadonlySet<FlakeOutput> =>
    withWholeClosure(outputs, { ...options, asksUpstreams: options.upstreams.length > 0 });
  const before = findCached();
  const lacking = outputs.filter((output) => !before.has(output));
  const valid = await localStore.queryValidPaths(lacking.flatMap(pathsOf), { signal });
  const isValid = (output: FlakeOutput): boolean =>
    !isFloating(output) && pathsOf(output).every((path) => valid.has(path));
  const toBuild = new Set(lacking.filter((output) => !isValid(output)));
  const willBuild = options.build && !options.dryRun;
  const unsigned = [...toBuild].filter((output) => isUnsigned(output, options));
  if (unsigned.length > 0) onEvent({ type: 'warning', message: unsignedMessage(unsigned, options) });
  const report = willBuild && lacking.length > 0 ? await buildAll(lacking, options) : undefined;
  // Who serves the cache to the builds may have read it anew.
  const cached = report ? findCached() : before;
  const failures = new Map(report?.failures.map((failure) => [failure.drvPath, failure]));
  const statusOf = (output: FlakeOutput): OutputStatus => {
    if (cached.has(output)) return 'cached';
    if (!toBuild.has(output)) return 'present';
    if (!willBuild) return options.build ? 'to-build' : 'skipped';
    return failures.has(output.drvPath) ? 'failed' : 'built';
  };
  const realised = report ? await withRealised(outputs, localStore, { signal }) : outputs;
  const reports = outputs.map((output, i) => ({
    output: realised[i] ?? output,
    status: statusOf(output),
    failure: failures.get(output.drvPath),
  }));
  for (const { output, status } of reports) {
    if (status === 'skipped')
      onEvent({ type: 'warning', message: `${output.attrPath} is not built, and --no-build was given: skipped` });
  }
  return { reports, release: async () => report?.release() };
}

/** Of all outputs that are there now and whose paths only a build told. */
function findRealisations(
  discovered: readonly FlakeOutput[],
  reports: readonly OutputReport[],
  { localStore, signal }: PublishOptions,
): ReturnType<typeof realisationsBelow> {
  const floating = new Set(discovered.filter(isFloating).map(({ drvPath }) => drvPath));
  const there = reports.filter(({ output, status }) => status !== 'failed' && !isFloating(output));
  const drvs = there.flatMap(({ output: { drvPath } }) => (floating.has(drvPath) ? [drvPath] : []));
  return realisationsBelow([...new Set(drvs)], localStore, { signal });
}

/** Whether the cache has an output that is not taken for cached, where there are keys. */
const isUnsigned = (output: FlakeOutput, { reader, keys }: PublishOptions): boolean =>
  keys.length > 0 && !isFloating(output) && pathsOf(output).every((path) => reader.has(hashPartOf(path)));

function unsignedMessage(outputs: readonly FlakeOutput[], { reader, keys }: PublishOptions): string {
  const names = outputs.map(({ attrPath }) => attrPath).join(', ');
  const signers = keys.map(({ name }) => name).join(', ');
  return (
    `${reader.name} has ${names}, but without the signature of ${signers} on all that they need, and this machine lacks them: ` +
    'what only the cache says is not signed, so they have to be built, or fetched from elsewhere'
  );
}

async function buildAll(outputs: readonly FlakeOutput[], options: PublishOptions): Promise<BuildReport> {
  const { reader, localStore, command, signal, onEvent, maxJobs } = options;
  onEvent({ type: 'stage', stage: 'build' });
  onEvent({ type: 'building', jobs: maxJobs ?? (await configuredJobs(options)) });
  const substituter = reader.status().entries > 0 ? await options.startSubstituter?.() : undefined;
  const warned = substituter && warnIfUntrusted(options);
  try {
    return await build(outputs, {
      command,
      store: localStore,
      keepGoing: true,
      signal,
      ...(maxJobs === undefined ? {} : { maxJobs }),
      ...(substituter ? { substituters: [substituter] } : {}),
      onEvent: (event: BuildEvent) => onEvent({ type: 'build', event }),
    });
  } finally {
    await warned;
    await substituter?.close();
  }
}

/** A daemon that does not trust us builds again what the cache has, and says nothing. */
async function warnIfUntrusted({ command, signal, onEvent }: PublishOptions): Promise<void> {
  const trust = await daemonTrust(command, { signal }).catch(() => undefined); // then the build says what is wrong
  if (trust === undefined || trust.isTrusted) return;
  const message = `the Nix daemon does not trust ${trust.user}, so builds do not substitute from the cache and may repeat what it has; ${trustRemedy(trust.user)}`;
  onEvent({ type: 'warning', message });
}

async function configuredJobs({ command, signal }: PublishOptions): Promise<number | 'auto' | undefined> {
  const jobs = (await command.settings({ signal })).get('max-jobs');
  return typeof jobs === 'number' || jobs === 'auto' ? jobs : undefined;
}

const pathsOf = ({ outputs }: FlakeOutput): StorePath[] => Object.values(outputs);

function selectPaths(
  reports: readonly OutputReport[],
  withBuildDeps: boolean,
): Pick<PublishPathsOptions, 'paths' | 'cachedPaths' | 'buildClosureOf'> {
  const at = (...statuses: readonly OutputStatus[]): FlakeOutput[] =>
    reports.filter(({ status }) => statuses.includes(status)).map(({ output }) => output);
  return {
    paths: at('built', 'present').flatMap(pathsOf),
    cachedPaths: at('cached').flatMap(pathsOf),
    buildClosureOf: withBuildDeps ? at('built', 'present', 'cached').map(({ drvPath }) => drvPath) : [],
  };
}

/** A root for each output: `attr.path`, and `attr.path^dev` for those not named out. */
const namedRoots = (reports: readonly OutputReport[]): { name: string; path: StorePath; system: string }[] =>
  reports
    .filter(({ status }) => status === 'built' || status === 'present' || status === 'cached')
    .flatMap(({ output }) =>
      Object.entries(output.outputs).map(([name, path]) => ({
        name: withOutput(output.attrPath, name),
        path,
        system: output.system,
      })),
    );
