/** Finds the outputs that can be evaluated: what ends the evaluation of many is found by halving. */
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import { isNixcacheError, messageOf } from '../errors.ts';
import { formatAttrPath } from '../nix/attr-path.ts';
import { DEFAULT_STORE_DIR, parseStorePath, type StorePath } from '../nix/store-path.ts';
import type { Evaluated, FlakeEvaluator } from './flake-evaluator.ts';
import type { Scope, Target } from './flake-expression.ts';
import type { DiscoverEvent, FlakeOutput } from './flake-output.ts';
import { NixFailure } from './nix-command.ts';

/** Failures that are evaluated again for their error; an error of nixpkgs can cost seconds. */
const MAX_EXPLAINED = 64;

interface Failed {
  readonly path: readonly string[];
  readonly error: string;
}

/** Collects outputs and failures while it narrows down what breaks the evaluation. */
export class Search {
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
