/** Runs the local Nix's programs: no shell, a deadline each, and nothing left behind when stopped. */
import { existsSync } from 'node:fs';
import { type Options as ExecaOptions, execa } from 'execa';
import * as z from 'zod/mini';
import type { CallOptions } from '../call-options.ts';
import { childEnvironment } from '../child-environment.ts';
import type { Environment } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { groupStopper } from '../process-group.ts';
import { SharedWork } from '../shared-work.ts';
import { NO_GIT, noNix } from './missing-programs.ts';
import { StderrTail, summariseErrors } from './stderr-tail.ts';

export interface NixVersion {
  readonly major: number;
  readonly minor: number;
}

/** What a nix program is asked for, apart from its arguments. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Deadline; the program is stopped after it. */
  readonly timeoutMs?: number;
  /** Sees every line of stderr; true keeps the line out of the error tail. */
  readonly onStderrLine?: (line: string) => boolean;
  /** `nix` as the machine's configuration has it, without features that we turn on. */
  readonly plain?: boolean;
}

export interface RunResult {
  readonly stdout: string;
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  /** The last lines of stderr, without colours. */
  readonly stderrLines: readonly string[];
}

export interface NixCommandOptions {
  /** What the programs get, less our secrets; default: our own. NIX_CONFIG, NIX_REMOTE and the like act through it. */
  readonly env?: Environment;
  readonly cwd?: string;
  /** Between asking a program to stop and killing it. Nix takes a moment to stop its builders. */
  readonly killGraceMs?: number;
  /** As `--option NAME VALUE`, for evaluations and builds alike. */
  readonly settings?: readonly NixSetting[] | undefined;
  /** As `--accept-flake-config`. */
  readonly acceptFlakeConfig?: boolean | undefined;
}

/** Name and value. */
export type NixSetting = readonly [string, string];

/** A nix program ended with another exit code than 0. */
export class NixFailure extends NixcacheError {
  /** Nix's own error, on one line. */
  readonly summary: string;

  constructor(command: string, summary: string) {
    super('ERR_NIX', `${command} failed: ${summary}`);
    this.summary = summary;
  }
}

const NixConfigJson = z.record(z.string(), z.object({ value: z.unknown() }));
/** The settings Nix ended up with, by name. */
export type NixSettings = ReadonlyMap<string, unknown>;

/** A query of the local store takes milliseconds; a cold disk or a busy daemon, seconds. */
const QUERY_TIMEOUT_MS = 10 * 60_000;
const DEFAULT_KILL_GRACE_MS = 5_000;
/** JSON about 10^6 paths is about 700 MB, more than one string may hold. */
const MAX_STDOUT_LENGTH = 500_000_000;
/** Where installers put Nix, for services and cron jobs that have a bare PATH. */
const USUAL_PLACES = ['/nix/var/nix/profiles/default/bin', '/run/current-system/sw/bin'];

const FEATURES = ['--extra-experimental-features', 'nix-command flakes'];

export class NixCommand {
  readonly env: Environment;
  readonly #options: NixCommandOptions;
  readonly #cwd: string | undefined;
  readonly #killGraceMs: number;
  readonly #ahead = new Map<string, Promise<string>>();
  readonly #version = new SharedWork((signal) => this.#readVersion({ signal }), { keeps: true });
  readonly #settings = new SharedWork((signal) => this.#readSettings({ signal }), { keeps: true });

  constructor(options: NixCommandOptions = {}) {
    const env = childEnvironment('nix', options.env ?? process.env);
    this.env = { ...env, PATH: [env['PATH'] ?? '', ...USUAL_PLACES].filter((place) => place !== '').join(':') };
    this.#options = options;
    this.#cwd = options.cwd;
    this.#killGraceMs = options.killGraceMs ?? DEFAULT_KILL_GRACE_MS;
  }

  /** The same with more settings. */
  with(settings: readonly NixSetting[]): NixCommand {
    if (settings.length === 0) return this;
    return new NixCommand({ ...this.#options, settings: [...(this.#options.settings ?? []), ...settings] });
  }

  /** Directory that relative flake references are relative to. */
  get cwd(): string {
    return this.#cwd ?? process.cwd();
  }

  /** `nix …`; its stdout, of a process started by `startAhead` if there is one. @throws {NixcacheError} ERR_NIX */
  async nix(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const key = JSON.stringify(args);
    const started = this.#ahead.get(key);
    this.#ahead.delete(key);
    return started ?? succeeded('nix', args, await this.run('nix', args, options));
  }

  /** Starts what `nix` will soon be asked for with the same arguments: it works while its caller gets ready. */
  startAhead(args: readonly string[], options: RunOptions = {}): void {
    const started = this.nix(args, options);
    started.catch(() => undefined); // told to whoever asks for it
    this.#ahead.set(JSON.stringify(args), started);
  }

  /** `nix-store …`; its stdout. @throws {NixcacheError} ERR_NIX */
  async nixStore(args: readonly string[], options: RunOptions = {}): Promise<string> {
    return succeeded('nix-store', args, await this.run('nix-store', args, options));
  }

  /**
   * Runs to the end and reports, whatever the exit code; `nix` with flakes on, whatever the machine's configuration.
   *
   * @throws {NixcacheError} ERR_NIX, ERR_INTERRUPTED
   */
  async run(
    program: 'nix' | 'nix-store' | 'git' | 'getent',
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<RunResult> {
    const { signal, timeoutMs = QUERY_TIMEOUT_MS } = options;
    throwIfAborted(program, signal);
    const tail = new StderrTail(options.onStderrLine);
    const flags = options.plain === true ? [] : this.#flagsOf(program);
    const child = execa(program, [...flags, ...args], this.#execaOptions(program));
    child.stderr.on('data', (chunk: Buffer) => tail.push(chunk));
    const stop = groupStopper(child.pid, this.#killGraceMs);
    const deadline = setTimeout(stop.now, timeoutMs);
    signal?.addEventListener('abort', stop.now, { once: true });
    try {
      const result = await child;
      tail.end();
      throwIfAborted(program, signal);
      if (stop.stopped()) throw new NixcacheError('ERR_NIX', `${program} ${args[0]} took over ${timeoutMs / 1000} s`);
      if (result.code === 'ENOENT' || result.code === 'EACCES') throw this.#notFound(program, result);
      if (result.isMaxBuffer) throw new NixcacheError('ERR_NIX', `${program} ${args[0]} answered too much to hold`);
      if (result.exitCode === undefined && result.signal === undefined) {
        throw new NixcacheError('ERR_NIX', `cannot run ${program}: ${result.shortMessage}`, { cause: result });
      }
      return { stdout: result.stdout, exitCode: result.exitCode, stderrLines: tail.lines };
    } finally {
      clearTimeout(deadline);
      signal?.removeEventListener('abort', stop.now);
      stop.done();
    }
  }

  /** Asked once. */
  version(options: CallOptions = {}): Promise<NixVersion> {
    return this.#version.join(options);
  }

  /** Asked once. */
  settings(options: CallOptions = {}): Promise<NixSettings> {
    return this.#settings.join(options);
  }

  /** The experimental features that nix.conf turns on. By name: the JSON of 2.8 has numbers. Without `nix-command` Nix does not tell. */
  async configuredFeatures(options: CallOptions = {}): Promise<readonly string[]> {
    const asked = { ...options, plain: true };
    const old = await this.run('nix', ['show-config'], asked);
    const [, list = ''] = /^experimental-features = (.*)$/m.exec(old.stdout) ?? [];
    if (old.exitCode === 0) return list.split(/\s+/);
    const { exitCode, stdout } = await this.run('nix', ['config', 'show', 'experimental-features'], asked);
    return exitCode === 0 ? stdout.trim().split(/\s+/) : [];
  }

  /** `system` of the settings, for instance x86_64-linux. */
  async currentSystem(options: CallOptions = {}): Promise<string> {
    const system = (await this.settings(options)).get('system');
    if (typeof system === 'string' && system !== '') return system;
    throw new NixcacheError('ERR_NIX', 'nix config names no system; say which with --system');
  }

  async #readVersion(options: RunOptions): Promise<NixVersion> {
    const { stdout } = await this.run('nix', ['--version'], options);
    // `nix (Nix) 2.8.0`, `nix (Determinate Nix 3.11.2) 2.31.1`: the last number is that of the Nix in it.
    const [, major, minor] = /(\d+)\.(\d+)\S*\s*$/.exec(stdout) ?? [];
    // Lix counts on from 2.90, but parted from Nix at 2.18 and has none of the later flags.
    if (stdout.includes('(Lix')) return { major: 2, minor: 18 };
    if (major === undefined || minor === undefined) {
      throw new NixcacheError('ERR_NIX', `nix --version says '${stdout.slice(0, 80)}', which has no version in it`);
    }
    return { major: Number(major), minor: Number(minor) };
  }

  async #readSettings(options: RunOptions): Promise<NixSettings> {
    // The old name first: it needs no version, and is a deprecated alias from 2.20 to 2.34 at least.
    const old = await this.run('nix', ['show-config', '--json'], options);
    const text = old.exitCode === 0 ? old.stdout : await this.nix(['config', 'show', '--json'], options);
    const parsed = NixConfigJson.safeParse(parseJson(text, 'nix config'));
    if (!parsed.success) throw new NixcacheError('ERR_NIX', 'nix config --json has an unknown shape');
    return new Map(Object.entries(parsed.data).map(([name, { value }]) => [name, value]));
  }

  #flagsOf(program: 'nix' | 'nix-store' | 'git' | 'getent'): readonly string[] {
    if (program === 'git' || program === 'getent') return [];
    const { settings = [], acceptFlakeConfig = false } = this.#options;
    const given = settings
      .filter((setting) => !isSecret(setting))
      .flatMap(([name, value]) => ['--option', name, value]);
    if (program === 'nix-store') return given;
    return [...FEATURES, ...(acceptFlakeConfig ? ['--accept-flake-config'] : []), ...given];
  }

  #execaOptions(program: string) {
    const secrets = program.startsWith('nix') ? (this.#options.settings ?? []).filter(isSecret) : [];
    return {
      env: withNixConfig(this.env, secrets),
      extendEnv: false,
      cwd: this.cwd,
      stdin: 'ignore',
      buffer: { stdout: true, stderr: false },
      maxBuffer: MAX_STDOUT_LENGTH,
      detached: true,
      cleanup: false,
      reject: false,
    } as const satisfies ExecaOptions;
  }

  #notFound(program: string, cause: unknown): NixcacheError {
    if (!existsSync(this.cwd)) return new NixcacheError('ERR_USAGE', `directory ${this.cwd} does not exist`, { cause });
    return new NixcacheError('ERR_NIX', program === 'git' ? NO_GIT : noNix(program), { cause });
  }
}

/** Every user of the machine reads command lines: what may hold a token or a password is handed over in NIX_CONFIG. */
const isSecret = ([name, value]: NixSetting): boolean =>
  /^(extra-)?(access-tokens|impure-env)$/.test(name) || /:\/\/[^\s/]*@/.test(value);

/** What `env` has in NIX_CONFIG comes first, so that `settings` win, as options do. */
function withNixConfig(env: Environment, settings: readonly NixSetting[]): Environment {
  if (settings.length === 0) return env;
  const lines = settings.map(([name, value]) => `${name} = ${configValue(name, value)}`);
  return { ...env, NIX_CONFIG: [...(env['NIX_CONFIG'] ? [env['NIX_CONFIG']] : []), ...lines].join('\n') };
}

/** @throws {NixcacheError} ERR_USAGE for what a line of a configuration cannot hold; the value may be a secret, and stays unsaid */
function configValue(name: string, value: string): string {
  if (!value.includes('#')) return value.trim().replaceAll(/\s+/g, ' ');
  throw new NixcacheError(
    'ERR_USAGE',
    `--option ${name}: it may be a secret, and is handed over in NIX_CONFIG, where no '#' can be; give the login in Nix's netrc-file`,
  );
}

export const atLeast = (version: NixVersion, major: number, minor: number): boolean =>
  version.major > major || (version.major === major && version.minor >= minor);

/** @throws {NixcacheError} ERR_NIX */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new NixcacheError('ERR_NIX', `${what} did not answer with JSON but '${text.slice(0, 80)}'`, { cause });
  }
}

/** Cuts `args` into runs that fit one command line: macOS allows 1 MiB for arguments and environment together. */
export function inBatches<T extends string>(args: readonly T[], maxBytes = 256 * 1024): readonly (readonly T[])[] {
  const batches: T[][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const arg of args) {
    size += arg.length + 1;
    if (size > maxBytes) {
      batches.push([]);
      size = arg.length + 1;
    }
    batches.at(-1)?.push(arg);
  }
  return batches;
}

function succeeded(program: string, args: readonly string[], result: RunResult): string {
  if (result.exitCode === 0) return result.stdout;
  const subcommand = args.find((arg) => !arg.startsWith('-')) ?? args[0] ?? '';
  const why = summariseErrors(result.stderrLines) || `exit code ${result.exitCode ?? 'none, a signal ended it'}`;
  throw new NixFailure(program === 'nix' ? `nix ${subcommand}` : `nix-store ${args[0] ?? ''}`, why);
}

function throwIfAborted(program: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new NixcacheError('ERR_INTERRUPTED', `${program} was stopped on request`, { cause: signal.reason });
}
