/**
 * Starts a program, and stops it together with everything that it started.
 *
 * Nix starts git, ssh and remote helpers, so it gets a process group of its own. Stopping means SIGTERM to the group
 * (Nix then releases its locks and kills its builders), and SIGKILL after a grace period.
 */

import { spawn } from 'node:child_process';
import type { Environment } from '../environment.ts';

export interface StartOptions {
  /** All that the program sees of ours. */
  readonly env: Environment;
  readonly cwd: string;
  /** Of stdout, in UTF-16 units; a program that prints more is killed. */
  readonly maxStdoutLength: number;
  readonly onStderr: (chunk: Buffer) => void;
}

export interface Ended {
  /** Without its last line end. Undefined when it grew too long. */
  readonly stdout: string | undefined;
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  /** Why it never started. */
  readonly error: NodeJS.ErrnoException | undefined;
}

/** Starts `program` as the leader of a process group, without input. `ended` is never rejected. */
export function startGroup(
  program: string,
  args: readonly string[],
  { env, cwd, maxStdoutLength, onStderr }: StartOptions,
): { readonly pid: number | undefined; readonly ended: Promise<Ended> } {
  const { promise: ended, resolve } = Promise.withResolvers<Ended>();
  const fail = (error: NodeJS.ErrnoException): void => resolve({ stdout: '', exitCode: undefined, error });
  let stdout: string | undefined = '';
  try {
    const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    child.on('error', fail);
    child.on('close', (code) => {
      resolve({ stdout: stdout?.replace(/\r?\n$/, ''), exitCode: code ?? undefined, error: undefined });
    });
    // Where there are too many open files, the streams are absent.
    child.stderr?.on('data', onStderr);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      if (stdout === undefined) return;
      if (stdout.length + text.length <= maxStdoutLength) stdout += text;
      else {
        stdout = undefined;
        if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
      }
    });
    return { pid: child.pid, ended };
  } catch (error) {
    fail(error as NodeJS.ErrnoException); // arguments that no program can be given
    return { pid: undefined, ended };
  }
}

/** Between one SIGTERM and the next. */
const RETRY_TERM_MS = 500;

/** Process groups that must not outlive us. */
const running = new Set<number>();
process.once('exit', () => {
  for (const group of running) signalGroup(group, 'SIGTERM');
});

/** Stops, when told to, the process group that `pid` leads; undefined when it never started. */
export function groupStopper(pid: number | undefined, killGraceMs: number) {
  let hard: NodeJS.Timeout | undefined;
  let again: NodeJS.Timeout | undefined;
  let stopped = false;
  if (pid !== undefined) running.add(pid);
  return {
    now: (): void => {
      if (stopped) return;
      stopped = true;
      if (pid === undefined) return;
      signalGroup(pid, 'SIGTERM');
      // Nix can miss one that comes just before it starts to wait for a builder (seen with 2.26.3).
      again = setInterval(() => signalGroup(pid, 'SIGTERM'), RETRY_TERM_MS);
      hard = setTimeout(() => signalGroup(pid, 'SIGKILL'), killGraceMs);
    },
    stopped: (): boolean => stopped,
    done: (): void => {
      clearInterval(again);
      clearTimeout(hard);
      if (pid !== undefined) running.delete(pid);
    },
  };
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (error) {
    // Gone already: it ended between the decision and the signal.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
