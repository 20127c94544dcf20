/** Runs the real command line in a process of its own, from the sources: Node strips the types. */
import { fileURLToPath } from 'node:url';
import { execa, type Options } from 'execa';
import { sayings } from '../support/sayings.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface RunCliOptions {
  /** The whole environment but for PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string;
  /** Octal, as in `umask 000`. */
  readonly umask?: string;
}

export interface CliResult {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Of vitest.config.ts: stripping the types of all sources costs each start four fifths of its time. */
const { NODE_COMPILE_CACHE = '' } = process.env;

/** Nobody can make it, or anything below, not even root. */
const NO_HOME = '/dev/null/home';

const optionsOf = ({ env, cwd, input }: RunCliOptions) =>
  ({
    cwd: cwd ?? '/',
    env: { PATH: process.env['PATH'] ?? '', HOME: NO_HOME, NODE_COMPILE_CACHE, ...env },
    extendEnv: false,
    reject: false,
    timeout: 60_000,
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
  }) satisfies Options;

export async function runCli(args: readonly string[], options: RunCliOptions = {}): Promise<CliResult> {
  const command = [process.execPath, MAIN, ...args];
  const [program = '', ...rest] =
    options.umask === undefined ? command : ['sh', '-c', `umask ${options.umask}; exec "$@"`, 'sh', ...command];
  const { exitCode, stdout, stderr } = await execa(program, rest, optionsOf(options));
  return { exitCode, stdout, stderr };
}

export interface RunningCli extends AsyncDisposable {
  /** The first line that was waited for. */
  readonly firstLine: string;
  /** Resolves once stderr has held `text`; rejects when the command ends without. */
  said(text: string): Promise<void>;
  signal(name: NodeJS.Signals): void;
  readonly result: Promise<CliResult>;
}

/** Starts a command that goes on, and waits until it has said `text`; by default, anything on stdout. */
export async function startCli(
  args: readonly string[],
  options: RunCliOptions = {},
  until: { readonly stream: 'stdout' | 'stderr'; readonly text: string } = { stream: 'stdout', text: '\n' },
): Promise<RunningCli> {
  const child = execa(process.execPath, [MAIN, ...args], optionsOf(options));
  const result = child.then(({ exitCode, stdout, stderr }) => ({ exitCode, stdout, stderr }));
  const said = sayings(child.stderr, result);
  const begun = new Promise<string>((resolve) => {
    let text = '';
    child[until.stream].on('data', (chunk: Buffer) => {
      text += chunk;
      if (text.includes(until.text)) resolve(text);
    });
  });
  const text = await Promise.race([begun, result.then(({ stderr }) => Promise.reject(new Error(stderr)))]);
  return {
    firstLine: text.split('\n', 1)[0] ?? '',
    said,
    signal: (name) => child.kill(name),
    result,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await result;
    },
  };
}
