/** Asks the wrapper flake of flake-expression.ts: one `nix eval` a question. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import { makeTemporaryDirectory, temporaryError } from '../temporary-directory.ts';
import {
  ANSWER_FILE,
  ANSWER_NIX,
  KINDS,
  type Question,
  type Scope,
  SHAPES,
  type Target,
  wrapperFile,
  wrapperFlake,
} from './flake-expression.ts';
import type { FlakeSource } from './flake-source.ts';
import { type NixCommand, parseJson } from './nix-command.ts';

const TargetJson = z.object({ kind: z.enum([...KINDS, 'file']), path: z.array(z.string()) });
const OutputJson = z.object({
  name: z.string(),
  system: z.string(),
  drvPath: z.string(),
  outputs: z.record(z.string(), z.string()),
});
const EvaluatedJson = z.object({
  ...TargetJson.shape,
  result: z.object({ value: z.optional(OutputJson) }),
});
const NamesJson = z.object({
  scope: z.object({
    ...TargetJson.shape,
    shape: z.enum(SHAPES),
  }),
  result: z.object({ value: z.optional(z.array(TargetJson)) }),
  outputs: z.optional(z.array(EvaluatedJson)),
});

/** One output after evaluation; without `output` when it threw. */
export interface Evaluated extends Target {
  readonly output: z.infer<typeof OutputJson> | undefined;
}

/** One scope after a look into it; without `names` when that threw. */
export interface Named {
  readonly scope: Scope;
  readonly names: readonly Target[] | undefined;
  readonly outputs: readonly Evaluated[];
}

/** Evaluating a fleet of NixOS hosts takes tens of minutes. */
const EVAL_TIMEOUT_MS = 2 * 60 * 60_000;

/** What `nix build` has flags of the same names for. */
export interface EvaluationFlags {
  readonly impure?: boolean | undefined;
  /** `[name, flake reference]`; the name of an input of an input has slashes. */
  readonly overrideInputs?: readonly (readonly [string, string])[] | undefined;
}

export class FlakeEvaluator {
  readonly #command: NixCommand;
  readonly #source: FlakeSource;
  readonly #systems: readonly string[] | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #flags: EvaluationFlags;
  #dir: string | undefined;

  /** `systems` undefined means all the flake has. */
  constructor(
    command: NixCommand,
    source: FlakeSource,
    systems: readonly string[] | undefined,
    signal: AbortSignal | undefined,
    flags: EvaluationFlags = {},
  ) {
    this.#flags = flags;
    this.#command = command;
    this.#source = source;
    this.#systems = systems;
    this.#signal = signal;
  }

  /** The questions may be asked while `work` runs. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.#dir = await makeTemporaryDirectory('nixcache-flake-', 'questions to Nix');
    try {
      return await work();
    } finally {
      // A question that another's failure outran may still be writing; what stays behind then is a few files in TMPDIR.
      await rm(this.#dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }).catch(() => undefined);
    }
  }

  /** Whether the flake as a whole evaluates. @throws {NixcacheError} ERR_USAGE when not */
  async root(): Promise<void> {
    await this.#ask({ ask: 'root' }, z.array(z.string())).catch((error: unknown) => {
      if (!isNixcacheError(error, 'ERR_NIX')) throw error;
      const { url, file } = this.#source;
      const [what, same] = file === undefined ? [`the flake ${url}`, 'nix flake show'] : [file, `nix-build ${file}`];
      throw new NixcacheError(
        'ERR_USAGE',
        `${what} does not evaluate: ${error.message}; '${same}' should say the same`,
        { cause: error },
      );
    });
  }

  /** Settings that the flake, whose flake.nix lies in `directory` of its tree, would have Nix take on. */
  nixConfig(directory: string): Promise<Readonly<Record<string, unknown>>> {
    return this.#ask({ ask: 'nixConfig', directory }, z.record(z.string(), z.unknown()));
  }

  names(scopes: readonly Scope[]): Promise<readonly Named[]> {
    return this.#askScopes('names', scopes);
  }

  all(scopes: readonly Scope[]): Promise<readonly Named[]> {
    return this.#askScopes('all', scopes);
  }

  async outputs(targets: readonly Target[]): Promise<readonly Evaluated[]> {
    return (await this.#ask({ ask: 'outputs', targets }, z.array(EvaluatedJson))).map(toEvaluated);
  }

  async #askScopes(ask: 'names' | 'all', scopes: readonly Scope[]): Promise<readonly Named[]> {
    const systems = this.#systems;
    const question: Question = { ask, scopes, ...(systems !== undefined && { systems }) };
    const answer = await this.#ask(question, z.array(NamesJson));
    return answer.map(({ scope, result, outputs = [] }) => ({
      scope,
      names: result.value,
      outputs: outputs.map(toEvaluated),
    }));
  }

  async #ask<T>(question: Question, schema: z.ZodMiniType<T>): Promise<T> {
    if (this.#dir === undefined) throw new Error('FlakeEvaluator asked outside use()');
    const dir = await makeTemporaryDirectory('question-', 'a question to Nix', this.#dir);
    const { file, lockedUrl } = this.#source;
    const wrapper = join(dir, file === undefined ? 'flake.nix' : 'question.nix');
    await write(wrapper, file === undefined ? wrapperFlake(lockedUrl, question) : wrapperFile(file, question));
    await write(join(dir, ANSWER_FILE), ANSWER_NIX);
    // No evaluation cache: it would remember failures, and the answer is asked for once.
    const { impure = false, overrideInputs = [] } = this.#flags;
    const overrides = overrideInputs.flatMap(([name, ref]) => ['--override-input', `target/${name}`, ref]);
    const flags = ['--no-write-lock-file', '--no-eval-cache', ...(impure ? ['--impure'] : []), ...overrides];
    const asked =
      file === undefined
        ? [...flags, `path:${encodeURI(dir)}#answer`]
        : ['--no-eval-cache', '--impure', '--file', wrapper, 'answer'];
    const args = ['eval', '--json', ...asked];
    const text = await this.#command.nix(args, { signal: this.#signal, timeoutMs: EVAL_TIMEOUT_MS });
    const parsed = schema.safeParse(parseJson(text, 'nix eval'));
    if (parsed.success) return parsed.data;
    throw new NixcacheError('ERR_NIX', 'nix eval --json has an unknown shape', { cause: parsed.error });
  }
}

const write = (file: string, text: string): Promise<void> =>
  writeFile(file, text).catch((cause: unknown) => {
    throw temporaryError('write a question to Nix to', file, cause);
  });

const toEvaluated = ({ kind, path, result }: z.infer<typeof EvaluatedJson>): Evaluated => ({
  kind,
  path,
  output: result.value,
});
