/**
 * Builds derivations: every output of each, in one `nix-store --realise --keep-going`, so that Nix schedules them.
 *
 * nix-store and not `nix build`: it takes derivations, builds all their outputs, and is the same from 2.8 to 2.34.
 * Neither tells which ones failed, so afterwards the store is asked what is valid. And up to 2.2x one derivation that
 * the machine cannot build at all (another system, a missing feature) ends the whole run before it starts, whatever
 * --keep-going says: what was not attempted then is run again without the guilty.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { StorePath } from '../nix/store-path.ts';
import { makeTemporaryDirectory, temporaryError } from '../temporary-directory.ts';
import { type BuildFailure, type BuildTarget, explainFailures } from './build-failure.ts';
import { type BuildEvent, BuildLog } from './build-log.ts';
import type { LocalStore } from './local-store.ts';
import { inBatches, type NixCommand, type RunResult } from './nix-command.ts';
import { isFloating, withRealised } from './realisations.ts';
import { summariseErrors } from './stderr-tail.ts';

export interface BuildOptions {
  readonly command: NixCommand;
  readonly store: LocalStore;
  /** Go on with the others when one fails. Default: true. */
  readonly keepGoing?: boolean;
  readonly maxJobs?: number;
  /** Asked besides the machine's own; a daemon heeds them for trusted users only. */
  readonly substituters?: readonly { readonly url: string; readonly publicKeys: readonly string[] }[];
  /** Further settings of Nix, by name. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  readonly onEvent?: (event: BuildEvent) => void;
  /** Where to put the links that keep results from being collected. Default: a temporary directory. */
  readonly rootsDir?: string;
}

export interface BuildReport<T extends BuildTarget = BuildTarget> {
  /** Targets whose every output is valid now. */
  readonly built: readonly T[];
  readonly failures: readonly BuildFailure[];
  /** Lets Nix collect the results. Call it once they are published, or given up. */
  release(): Promise<void>;
}

/** Longer than any CI lets a job run. */
const BUILD_TIMEOUT_MS = 24 * 60 * 60_000;

/** @throws {NixcacheError} ERR_INTERRUPTED; ERR_NIX when Nix itself cannot run. A failing build is no exception. */
export async function build<T extends BuildTarget>(
  targets: readonly T[],
  options: BuildOptions,
): Promise<BuildReport<T>> {
  const rootsDir = options.rootsDir ?? (await makeTemporaryDirectory('nixcache-roots-', 'links to what is built'));
  await mkdir(rootsDir, { recursive: true }).catch((cause: unknown) => {
    throw temporaryError('make a directory for links to what is built,', rootsDir, cause);
  });
  // What cannot be removed is a few links in TMPDIR, and no reason to fail what is built and published.
  const release = (): Promise<void> => rm(rootsDir, { recursive: true, force: true }).catch(() => undefined);
  try {
    const run = new BuildRun(options, rootsDir);
    const failures: BuildFailure[] = [];
    const byDrv = new Map(targets.map((target) => [target.drvPath, target]));
    for (const batch of inBatches([...byDrv.keys()])) {
      const wanted = batch.flatMap((drvPath) => byDrv.get(drvPath) ?? []);
      failures.push(...(await run.realise(wanted)));
    }
    await run.keepResults();
    const failed = new Set(failures.map(({ drvPath }) => drvPath));
    return { built: targets.filter(({ drvPath }) => !failed.has(drvPath)), failures, release };
  } catch (error) {
    await release();
    throw error;
  }
}

class BuildRun {
  readonly #options: BuildOptions;
  readonly #rootsDir: string;
  /** Results of runs that failed as a whole: nix-store roots none of those. */
  readonly #unrooted: StorePath[] = [];
  #runs = 0;

  constructor(options: BuildOptions, rootsDir: string) {
    this.#options = options;
    this.#rootsDir = rootsDir;
  }

  async realise(targets: readonly BuildTarget[]): Promise<readonly BuildFailure[]> {
    const { store, signal } = this.#options;
    const log = new BuildLog(this.#options.onEvent);
    const result = await this.#nixStore(targets, log);
    if (result.exitCode === 0) return [];

    const known = await withRealised(targets, store, { signal });
    const valid = await store.queryValidPaths(known.flatMap(outputsOf), { signal });
    this.#unrooted.push(...valid);
    const isDone = (target: BuildTarget): boolean =>
      !isFloating(target) && outputsOf(target).every((path) => valid.has(path));
    const open = targets.filter((_, i) => !isDone(known[i] as BuildTarget));
    const closure = await store.queryClosure(
      open.map(({ drvPath }) => drvPath),
      { signal },
    );
    const failures = explainFailures(open, closure, log);
    const explained = new Set(failures.map(({ drvPath }) => drvPath));
    const rest = open.filter(({ drvPath }) => !explained.has(drvPath));
    if (rest.length === 0 || this.#options.keepGoing === false) return [...failures, ...notAttempted(rest)];
    if (failures.length > 0 || rest.length < targets.length) return [...failures, ...(await this.realise(rest))];
    // Nobody to blame: one by one the guilty ones show themselves.
    const [alone, ...others] = rest;
    if (alone !== undefined && others.length === 0) return [unexplained(alone, result, log)];
    const each: BuildFailure[] = [];
    for (const target of rest) each.push(...(await this.realise([target])));
    return each;
  }

  /** Roots what runs that ended in failure have built all the same. */
  async keepResults(): Promise<void> {
    const { command, signal } = this.#options;
    for (const batch of inBatches(this.#unrooted)) {
      await command.nixStore(['--realise', '--add-root', this.#nextRoot(), ...batch], { signal });
    }
  }

  #nixStore(targets: readonly BuildTarget[], log: BuildLog): Promise<RunResult> {
    const { command, keepGoing = true, maxJobs, substituters = [], settings = {}, signal } = this.#options;
    const option = (name: string, value: string): readonly string[] => (value === '' ? [] : ['--option', name, value]);
    const args = [
      '--realise',
      ...(keepGoing ? ['--keep-going'] : []),
      ...['--log-format', 'internal-json', '-v', '--add-root', this.#nextRoot()],
      ...(maxJobs === undefined ? [] : ['--max-jobs', String(maxJobs)]),
      ...option('extra-substituters', substituters.map(({ url }) => url).join(' ')),
      ...option('extra-trusted-public-keys', substituters.flatMap(({ publicKeys }) => publicKeys).join(' ')),
      ...Object.entries(settings).flatMap(([name, value]) => ['--option', name, value]),
      ...targets.map(({ drvPath }) => drvPath),
    ];
    const { timeoutMs = BUILD_TIMEOUT_MS } = this.#options;
    return command.run('nix-store', args, { signal, timeoutMs, onStderrLine: (line) => log.read(line) });
  }

  #nextRoot(): string {
    this.#runs += 1;
    return join(this.#rootsDir, `run-${this.#runs}`);
  }
}

const outputsOf = ({ outputs }: BuildTarget): readonly StorePath[] => Object.values(outputs);

const unexplained = ({ drvPath }: BuildTarget, result: RunResult, log: BuildLog): BuildFailure => ({
  drvPath,
  reason: log.started.includes(drvPath) ? 'failed' : 'unbuildable',
  error: log.errors.at(-1) ?? (summariseErrors(result.stderrLines) || `nix-store ended with ${result.exitCode}`),
  logTail: log.tailOf(drvPath),
});

const notAttempted = (targets: readonly BuildTarget[]): readonly BuildFailure[] =>
  targets.map(({ drvPath }) => ({
    drvPath,
    reason: 'unbuildable',
    error: 'not attempted after an earlier failure',
    logTail: [],
  }));
