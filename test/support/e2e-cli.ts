/** Runs the command line as it is installed: bin/nixcache.js over what `npm run build` made of the sources. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type Options } from 'execa';
import { sayings } from './sayings.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BIN = join(ROOT, 'bin/nixcache.js');

/** Of one command: longer means that it hangs. */
const TIMEOUT_MS = 120_000;

export interface CliOptions {
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string;
}

export interface CliResult {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** @throws {Error} when there is no build, or a source is newer than it */
export function requireBuild(): void {
  const built = statSync(join(ROOT, 'dist/cli/main.js'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const stale = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && statSync(join(ROOT, 'src', file)).mtimeMs > built,
  );
  if (stale.length === 0) return;
  throw new Error(`dist/ is missing or older than src/ (${stale.slice(0, 3).join(', ')} …): run 'npm run build' first`);
}

requireBuild();

const optionsOf = ({ env, cwd = '/', input }: CliOptions) =>
  ({
    ...{ cwd, env, extendEnv: false, reject: false, timeout: TIMEOUT_MS },
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
  }) satisfies Options;

/** Runs a command to its end. */
export async function nixcache(args: readonly string[], options: CliOptions): Promise<CliResult> {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [BIN, ...args], optionsOf(options));
  return { exitCode, stdout, stderr };
}

export interface RunningCli extends AsyncDisposable {
  readonly pid: number;
  /** Resolves once stderr has held `text`; rejects when the command ends without. */
  said(text: string): Promise<void>;
  signal(name: NodeJS.Signals): void;
  readonly result: Promise<CliResult & { readonly signal: string | undefined }>;
}

/** Starts a command and does not wait for it. */
export function startNixcache(args: readonly string[], options: CliOptions): RunningCli {
  const child = execa(process.execPath, [BIN, ...args], optionsOf(options));
  const result = child.then(({ exitCode, stdout, stderr, signal }) => ({ exitCode, stdout, stderr, signal }));
  return {
    pid: child.pid ?? 0,
    said: sayings(child.stderr, result),
    signal: (name) => {
      child.kill(name);
    },
    result,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await result;
    },
  };
}

export interface Serving extends AsyncDisposable {
  readonly url: string;
  /** As of a `RunningCli`. */
  readonly said: RunningCli['said'];
  readonly pid: number;
  signal(name: NodeJS.Signals): void;
  readonly result: RunningCli['result'];
  /** Ends it as a service manager does, and gives what it said. */
  stop(): Promise<CliResult>;
}

/** `nixcache serve --port 0`, up: its URL is the first line on stdout. */
export async function startServe(args: readonly string[], options: CliOptions): Promise<Serving> {
  const child = execa(process.execPath, [BIN, 'serve', '--port', '0', ...args], optionsOf({ ...options }));
  const result = child.then(({ exitCode, stdout, stderr, signal }) => ({ exitCode, stdout, stderr, signal }));
  const said = sayings(child.stderr, result);
  const line = new Promise<string>((resolve) => {
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk;
      if (text.includes('\n')) resolve(text.split('\n', 1)[0] ?? '');
    });
  });
  const failed = result.then(({ stderr }) => Promise.reject(new Error(`serve ended at once: ${stderr}`)));
  const url = await Promise.race([line, failed]);
  return {
    url,
    said,
    pid: child.pid ?? 0,
    signal: (name) => {
      child.kill(name);
    },
    result,
    stop: () => {
      child.kill('SIGTERM');
      return result;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await result;
    },
  };
}

/** The same, with the cache as it is now: after a second, a server goes on with the index that an earlier command left. */
export async function startFreshServe(args: readonly string[], options: CliOptions): Promise<Serving> {
  const server = await startServe(args, options);
  const { status } = await fetch(`${server.url}/_refresh`, { method: 'POST' });
  if (status !== 200) throw new Error(`the index cannot be refreshed: ${status}`);
  return server;
}
