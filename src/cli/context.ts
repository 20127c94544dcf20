/** What every command gets: the process, in a form that tests and embedders can stand in for. */
import type { Command } from 'commander';
import type { CacheFlags } from '../config/cache-reference.ts';
import type { CredentialFlags } from '../config/credentials.ts';
import { loadConfig } from '../config/load.ts';
import type { Sources } from '../config/resolve.ts';
import type { Environment } from '../environment.ts';
import type { ExitCode } from './exit-codes.ts';
import type { Output } from './ui/output.ts';

export interface CommandContext {
  readonly output: Output;
  readonly env: Environment;
  readonly cwd: string;
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  /** Aborted by the first Ctrl-C, SIGTERM or SIGHUP. */
  readonly signal: AbortSignal;
  /** Set by a command that ends well with another code than 0. */
  exitCode: ExitCode | undefined;
}

export interface CommonFlags extends CacheFlags, CredentialFlags {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  readonly verbose?: boolean | undefined;
  readonly config?: string | undefined;
}

/** The flags of `command`, those given before its name included. */
export const flagsOf = <Flags extends object>(command: Command): Flags & CommonFlags => command.optsWithGlobals();

/** Everything a setting can come from. */
export async function sourcesOf<Flags extends CommonFlags>(
  flags: Flags,
  { env, cwd, output }: CommandContext,
): Promise<Sources<Flags>> {
  const config = await loadConfig({ file: flags.config, cwd, env });
  if (config.file !== undefined) output.detail(`config file: ${config.file}`);
  return { flags, env, config, cwd };
}
