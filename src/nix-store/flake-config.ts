/**
 * The `nixConfig` of a flake: settings that `nix build` takes on when the user accepts them (`accept-flake-config`). Nix
 * reads them of the flake that is asked for, which here is a wrapper, and nix-store knows no flakes: so they are read out and
 * handed to both. NixOS/nix src/libflake/flake/config.cc
 */
import { join } from 'node:path';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError } from '../errors.ts';
import { readIfAny } from '../regular-file.ts';
import { type EvaluationFlags, FlakeEvaluator } from './flake-evaluator.ts';
import type { FlakeSource } from './flake-source.ts';
import type { NixCommand, NixSetting } from './nix-command.ts';

interface FlakeConfig {
  readonly accepted: readonly NixSetting[];
  /** Names of those that the user has not accepted. */
  readonly ignored: readonly string[];
}

/** These are for people at a terminal, and change nothing that is built. */
const IDLE = /^(bash-prompt|bash-prompt-prefix|bash-prompt-suffix|commit-lock-?file-summary|flake-registry)$/;

export interface FlakeConfigOptions extends EvaluationFlags, CallOptions {
  /** Told, for people, of settings that the user has not accepted. */
  readonly onIgnored: (message: string) => void;
}

/** `command` with the settings of the flake that the user accepts. */
export async function withFlakeConfig(
  command: NixCommand,
  source: FlakeSource,
  options: FlakeConfigOptions,
): Promise<NixCommand> {
  const { signal, onIgnored } = options;
  const evaluator = new FlakeEvaluator(command, source, undefined, signal, options);
  try {
    const { accepted, ignored } = await evaluator.use(() => readFlakeConfig(command, evaluator, source, { signal }));
    if (ignored.length > 0) {
      onIgnored(`the flake's nixConfig (${ignored.join(', ')}) is ignored, as Nix does without --accept-flake-config`);
    }
    return command.with(accepted);
  } catch (error) {
    // A flake that does not evaluate is told of by who asks for its outputs.
    if (isNixcacheError(error, 'ERR_NIX')) return command;
    throw error;
  }
}

/** @throws {NixcacheError} ERR_NIX */
async function readFlakeConfig(
  command: NixCommand,
  evaluator: FlakeEvaluator,
  source: FlakeSource,
  options: CallOptions,
): Promise<FlakeConfig> {
  if (!(await mentionsConfig(source))) return { accepted: [], ignored: [] };
  const config = await evaluator.nixConfig(source.directory ?? '');
  const settings = Object.entries(config).flatMap(([name, value]): NixSetting[] =>
    IDLE.test(name) ? [] : [[name, textOf(value)]],
  );
  const isAccepted = String((await command.settings(options)).get('accept-flake-config')) === 'true';
  if (isAccepted) return { accepted: settings, ignored: [] };
  return { accepted: [], ignored: settings.map(([name]) => name) };
}

/** An evaluation costs a moment, and few flakes have any. */
async function mentionsConfig({ path, directory = '' }: FlakeSource): Promise<boolean> {
  if (path === undefined) return true;
  const text = await readIfAny(join(path, directory, 'flake.nix'));
  return text === undefined || text.includes('nixConfig'); // a store elsewhere cannot be looked into
}

/** As Nix writes it into its own settings: lists with spaces between. */
const textOf = (value: unknown): string => (Array.isArray(value) ? value.map(String).join(' ') : String(value));
