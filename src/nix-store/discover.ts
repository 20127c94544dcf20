/**
 * What a flake offers to build: attribute path, derivation and store paths of every output.
 *
 * Two processes when all is well: one pins the flake, one evaluates everything. An output that ends the evaluation is
 * found by halving; every failure is evaluated once more alone, for its error.
 */
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import pLimit from 'p-limit';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { type AttrPathFilter, AttrPathMatcher, formatAttrPath, type UnmatchedGlob } from '../nix/attr-path.ts';
import { DEFAULT_STORE_DIR, parseStorePath, type StorePath } from '../nix/store-path.ts';
import { resolveFile } from './file-source.ts';
import { withFlakeConfig } from './flake-config.ts';
import { type Evaluated, type EvaluationFlags, FlakeEvaluator } from './flake-evaluator.ts';
import {
  DEFAULT_KINDS,
  type OutputKind,
  SCOPES,
  type Scope,
  type SourceKind,
  type Target,
} from './flake-expression.ts';
import { type KeysInUse, refuseSecretFiles } from './flake-secrets.ts';
import { type FlakeSource, resolveFlake } from './flake-source.ts';
import { NixCommand, NixFailure } from './nix-command.ts';

export interface FlakeOutput {
  /** For instance `packages.x86_64-linux.hello` or `nixosConfigurations.web`. */
  readonly attrPath: string;
  readonly kind: SourceKind;
  /** The derivation's name, for instance hello-2.12. */
  readonly name: string;
  readonly system: string;
  readonly drvPath: StorePath;
  /** By output name. */
  readonly outputs: Readonly<Record<string, StorePath>>;
  /** Names of further outputs, whose paths only a build tells. */
  readonly floating?: readonly string[] | undefined;
}

interface DiscoveryFailure {
  readonly attrPath: string;
  /** Nix's error, on one line. */
  readonly error: string;
}

export interface Discovery {
  readonly source: FlakeSource;
  /** Sorted by attribute path. */
  readonly outputs: readonly FlakeOutput[];
  readonly failures: readonly DiscoveryFailure[];
  /** What builds are to be run with: the command given, with what the flake's own settings add. */
  readonly command: NixCommand;
}

export type DiscoverEvent =
  /** The flake has settings that the user has not accepted. */
  | { readonly type: 'config-ignored'; readonly message: string }
  | { readonly type: 'flake'; readonly source: FlakeSource }
  | { readonly type: 'evaluating'; readonly outputs: number | undefined }
  | { readonly type: 'failed'; readonly failure: DiscoveryFailure }
  /** A glob that selected nothing, though others did. */
  | { readonly type: 'unmatched'; readonly message: string };

export interface DiscoverOptions extends AttrPathFilter, EvaluationFlags {
  readonly command?: NixCommand;
  /** Default: the machine's. `'all'` takes every system the flake has. */
  readonly systems?: readonly string[] | 'all';
  readonly kinds?: readonly OutputKind[];
  /** Attribute paths in a Nix expression without a flake; none: all of it. */
  readonly attrs?: readonly (readonly string[])[] | undefined;
  /** What must not lie in the flake's source, which Nix copies to its store, beside any other secret key. */
  readonly keysInUse?: KeysInUse;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: (event: DiscoverEvent) => void;
}

/** Failures that are evaluated again for their error; an error of nixpkgs can cost seconds. */
const MAX_EXPLAINED = 64;

/**
 * @throws {NixcacheError} ERR_USAGE, ERR_NIX when the flake as a whole cannot be read or evaluated, or holds a secret;
 *   ERR_USAGE when none of `only` selects anything
 */
export async function discover(
  from: string | { readonly file: string },
  options: DiscoverOptions = {},
): Promise<Discovery> {
  const { kinds = DEFAULT_KINDS, signal, onEvent } = options;
  const given = options.command ?? new NixCommand();
  const filter = new AttrPathMatcher(options);
  for (const ref of [
    ...(typeof from === 'string' ? [from] : []),
    ...(options.overrideInputs ?? []).map(([, input]) => input),
  ]) {
    await refuseSecretFiles(given, ref, { ...{ files: [], keys: [] }, ...options.keysInUse, signal });
  }
  const [source, systems] = await Promise.all([
    typeof from === 'string' ? resolveFlake(given, from, { signal }) : resolveFile(given, from.file, { signal }),
    options.systems ?? given.currentSystem({ signal }).then((system) => [system]),
  ]);
  onEvent?.({ type: 'flake', source });
  const onIgnored = (message: string): void => onEvent?.({ type: 'config-ignored', message });
  const isFlake = source.file === undefined;
  const command = isFlake ? await withFlakeConfig(given, source, { ...options, onIgnored }) : given;
  const labelled = (path: readonly string[]): readonly string[] => (path.length === 0 ? [nameOfFile(source)] : path);
  const evaluator = new FlakeEvaluator(command, source, systems === 'all' ? undefined : systems, signal, options);
  const search = new Search(evaluator, onEvent, labelled);
  await evaluator.use(async () => {
    const scopes = isFlake
      ? SCOPES.filter(({ kind }) => (kinds as readonly string[]).includes(kind))
      : scopesOf(options);
    const isFiltered = (options.only?.length ?? 0) + (options.exclude?.length ?? 0) > 0;
    const rest = isFiltered ? await search.findTargets(scopes) : await search.evaluateAll(scopes);
    await search.evaluate(rest.filter(({ path }) => filter.isWanted(labelled(path))));
    await search.explain();
  });
  const isAsked = ({ system }: FlakeOutput): boolean => systems === 'all' || systems.includes(system);
  const failures = search.failures.filter(({ path }) => filter.isWanted(labelled(path)));
  const isInVain = search.outputs.length + failures.length === 0;
  for (const unmatched of filter.unmatched) {
    const message = describeUnmatched(unmatched, source.file ?? 'the flake', systems);
    if (isInVain && unmatched.list === 'only') throw new NixcacheError('ERR_USAGE', message);
    if (!namesOtherSystem(unmatched, systems)) onEvent?.({ type: 'unmatched', message });
  }
  return {
    ...{ source, command },
    outputs: withoutAliases(search.outputs.filter(isAsked)).sort(byAttrPath),
    failures: failures.map(({ path, error }) => ({ attrPath: formatAttrPath(labelled(path)), error })).sort(byAttrPath),
  };
}

const scopesOf = ({ attrs = [] }: DiscoverOptions): readonly Scope[] =>
  (attrs.length === 0 ? [[]] : attrs).map((path) => ({ kind: 'file', path, shape: 'file' }));

/** What the one output is called that a file has: `release` of release.nix, `default` of a directory. */
const nameOfFile = ({ file = '' }: FlakeSource): string => (file.endsWith('.nix') ? basename(file, '.nix') : 'default');

function describeUnmatched(
  { list, glob, meant }: UnmatchedGlob,
  source: string,
  systems: readonly string[] | 'all',
): string {
  const place = systems === 'all' ? source : `${source} for ${systems.join(', ')}`;
  const advice = meant === undefined ? 'nixcache discover lists what there is' : `did you mean '${meant}'?`;
  return `--${list} '${glob}' matches no output of ${place}; ${advice}`;
}

/** Whether a glob is about a system that was not asked for: one list of exclusions serves the jobs of all systems. */
function namesOtherSystem({ glob }: UnmatchedGlob, systems: readonly string[] | 'all'): boolean {
  const [, named] = /^[A-Za-z]+\.([a-z0-9_]+-[a-z0-9_]+)(?:\.|$)/.exec(glob) ?? [];
  return named !== undefined && systems !== 'all' && !systems.includes(named);
}

interface Failed {
  readonly path: readonly string[];
  readonly error: string;
}

/** Collects outputs and failures while it narrows down what breaks the evaluation. */
class Search {
  readonly outputs: FlakeOutput[] = [];
  readonly failures: Failed[] = [];
  readonly #evaluator: FlakeEvaluator;
  readonly #onEvent: ((event: DiscoverEvent) => void) | undefined;
  readonly #limit = pLimit(availableParallelism());
  readonly #labelled: (path: readonly string[]) => readonly string[];
  #unexplained: Target[] = [];
  #isSound: Promise<unknown> | undefined;

  /** `labelled` gives an output without an attribute path one. */
  constructor(
    evaluator: FlakeEvaluator,
    onEvent: ((event: DiscoverEvent) => void) | undefined,
    labelled: (path: readonly string[]) => readonly string[],
  ) {
    this.#labelled = labelled;
    this.#evaluator = evaluator;
    this.#onEvent = onEvent;
  }

  /** Everything in one go; what that left open, to be evaluated. */
  async evaluateAll(scopes: readonly Scope[]): Promise<readonly Target[]> {
    this.#onEvent?.({ type: 'evaluating', outputs: undefined });
    const answer = await this.#try(() => this.#evaluator.all(scopes));
    if (answer === undefined) return this.findTargets(scopes);
    for (const { outputs } of answer.value) for (const evaluated of outputs) this.#sort(evaluated);
    const silent = answer.value.filter(({ names }) => names === undefined).map(({ scope }) => scope);
    return this.#narrowAll(silent);
  }

  /** Every output in `scopes`, by name only. */
  async findTargets(scopes: readonly Scope[]): Promise<readonly Target[]> {
    const answer = await this.#try(() => this.#evaluator.names(scopes));
    if (answer === undefined) return this.#narrowAll(scopes);
    const silent = answer.value.filter(({ names }) => names === undefined).map(({ scope }) => scope);
    return [...answer.value.flatMap(({ names }) => names ?? []), ...(await this.#narrowAll(silent))];
  }

  async evaluate(targets: readonly Target[]): Promise<void> {
    if (targets.length === 0) return;
    this.#onEvent?.({ type: 'evaluating', outputs: targets.length });
    const answer = await this.#try(
      () => this.#limit(() => this.#evaluator.outputs(targets)),
      (error) => targets.length === 1 && this.#fail(targets[0]?.path ?? [], error),
    );
    if (answer !== undefined) for (const evaluated of answer.value) this.#sort(evaluated);
    else if (targets.length > 1) {
      const half = Math.ceil(targets.length / 2);
      await Promise.all([this.evaluate(targets.slice(0, half)), this.evaluate(targets.slice(half))]);
    }
  }

  /** Gives every failure its error. */
  async explain(): Promise<void> {
    const explained = this.#unexplained.slice(0, MAX_EXPLAINED);
    const rest = this.#unexplained.slice(MAX_EXPLAINED);
    this.#unexplained = [];
    await Promise.all(explained.map((target) => this.evaluate([target])));
    for (const { path } of rest) this.#fail(path, 'it throws, like those before it; nix eval on it says why');
  }

  async #narrowAll(scopes: readonly Scope[]): Promise<readonly Target[]> {
    return (await Promise.all(scopes.map((scope) => this.#narrow(scope)))).flat();
  }

  /** The outputs in a scope that breaks the evaluation: by looking at its parts one by one. */
  async #narrow(scope: Scope): Promise<readonly Target[]> {
    const { kind, path, shape } = scope;
    const alone = await this.#try(
      () => this.#limit(() => this.#evaluator.names([scope])),
      (error) => (shape === 'byName' || shape === 'oneBySystem') && this.#fail(path, error),
    );
    if (alone !== undefined) return alone.value.flatMap(({ names }) => names ?? []);
    if (shape === 'byName' || shape === 'oneBySystem') return [];
    const flat: Scope = { kind, path, shape: shape === 'bySystem' ? 'oneBySystem' : 'byName' };
    const parts = await this.#narrow(flat);
    return this.#narrowAll(parts.map((part) => ({ kind, path: part.path, shape: PART_OF[shape] })));
  }

  /** Undefined when nix failed; the first time, makes sure that it is not the flake as a whole that is broken. */
  async #try<T>(ask: () => Promise<T>, onError?: (error: unknown) => unknown): Promise<{ value: T } | undefined> {
    try {
      return { value: await ask() };
    } catch (error) {
      if (!isNixcacheError(error, 'ERR_NIX')) throw error;
      this.#isSound ??= this.#evaluator.root();
      await this.#isSound;
      onError?.(error);
      return undefined;
    }
  }

  #sort(evaluated: Evaluated): void {
    const { kind, path, output } = evaluated;
    if (output === undefined) this.#unexplained.push({ kind, path });
    else {
      try {
        this.outputs.push(toFlakeOutput({ kind, path: this.#labelled(path) }, output));
      } catch (error) {
        this.#fail(path, error);
      }
    }
  }

  #fail(path: readonly string[], error: unknown): void {
    const failure = { path, error: error instanceof NixFailure ? error.summary : messageOf(error) };
    this.failures.push(failure);
    this.#onEvent?.({
      type: 'failed',
      failure: { attrPath: formatAttrPath(this.#labelled(path)), error: failure.error },
    });
  }
}

/** As what the parts of a scope of each shape are looked at. */
const PART_OF = { bySystem: 'byName', tree: 'tree', file: 'member', member: 'member' } as const;

function toFlakeOutput({ kind, path }: Target, output: NonNullable<Evaluated['output']>): FlakeOutput {
  const { name, system } = output;
  const storeDir = output.drvPath.slice(0, output.drvPath.lastIndexOf('/')) || DEFAULT_STORE_DIR;
  const outputs: Record<string, StorePath> = {};
  const floating: string[] = [];
  for (const [outputName, outPath] of Object.entries(output.outputs)) {
    // Nix has a hash stand in for a path that is not known yet.
    if (PLACEHOLDER.test(outPath)) floating.push(outputName);
    else outputs[outputName] = parseStorePath(outPath, storeDir);
  }
  const drvPath = parseStorePath(output.drvPath, storeDir);
  return {
    attrPath: formatAttrPath(path),
    kind,
    name,
    system,
    drvPath,
    outputs,
    ...(floating.length > 0 && { floating }),
  };
}

/** NixOS/nix src/libstore/downstream-placeholder.cc */
const PLACEHOLDER = /^\/[0-9a-z]{52}$/;

/** Drops `defaultPackage` and the like where the modern attribute has the same derivation. */
function withoutAliases(outputs: readonly FlakeOutput[]): FlakeOutput[] {
  const isAlias = ({ attrPath }: FlakeOutput): boolean => /^default(?:Package|App)\.|^devShell\./.test(attrPath);
  const modern = new Set(outputs.filter((output) => !isAlias(output)).map(({ drvPath }) => drvPath));
  return outputs.filter((output) => !isAlias(output) || !modern.has(output.drvPath));
}

function byAttrPath(a: { readonly attrPath: string }, b: { readonly attrPath: string }): number {
  return a.attrPath < b.attrPath ? -1 : a.attrPath > b.attrPath ? 1 : 0;
}
