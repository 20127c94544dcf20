/** What every command gets: the process, in a form that tests and embedders can stand in for. */
import type { Readable } from 'node:stream';
import { loadConfig } from '../config/load.ts';
import { OUTPUT } from '../config/output.ts';
import { type Flags, NO_CONFIG, resolve, type Sources } from '../config/setting.ts';
import type { Environment } from '../environment.ts';
import type { ExitCode } from './exit-codes.ts';
import type { Output } from './ui/output.ts';

export interface CommandContext {
  readonly output: Output;
  readonly env: Environment;
  readonly cwd: string;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  /** Aborted by the first Ctrl-C, SIGTERM or, without `onHangUp`, SIGHUP. */
  readonly signal: AbortSignal;
  /** Set by a command that goes on after a SIGHUP; the end of its terminal still ends it. */
  onHangUp?: (() => void) | undefined;
  /** Set by a command that may take longer than others to stop after a signal. */
  stopMs?: number | undefined;
  /** Set by a command that can say more of what an interruption leaves than that the cache is whole. */
  interrupted?: string | undefined;
  /** Set by a command that ends well with another code than 0. */
  exitCode: ExitCode | undefined;
}

/** Everything a setting can come from. */
export async function sourcesOf(flags: Flags, { env, cwd, output, signal }: CommandContext): Promise<Sources> {
  const file = resolve(OUTPUT.config, { flags, env, cwd, config: NO_CONFIG });
  const config = await loadConfig({ file, cwd, env, signal });
  if (config.file !== undefined) output.detail(`config file: ${config.file}`);
  return { flags, env, config, cwd };
}
