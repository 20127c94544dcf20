/** Signals: the first asks for a clean end, the second ends at once, and so does a first one that nothing heeds. */
import { NixcacheError } from '../errors.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import type { Output } from './ui/output.ts';

/** A shell, npm and our own wrapper may each pass on the one Ctrl-C; what comes later is a second one. */
const SAME_SIGNAL_MS = 300;
/** Nix has 5 s to stop its builders, a publish 5 s to commit what is ready; as much again, and nobody is at work any more. */
const STOP_MS = 15_000;

export interface InterruptionOptions {
  readonly output: Pick<Output, 'info' | 'warn'>;
  /** Whether it has seen to a SIGHUP. */
  readonly hangUp?: () => boolean;
  /** How long the command may take to stop; default 15 s. */
  readonly stopMs?: () => number | undefined;
}

/** Aborted by the first signal. What does not end within its time then is ended, whatever it waits for. */
export function interruptible({ output, hangUp, stopMs }: InterruptionOptions): AbortSignal {
  const controller = new AbortController();
  let firstMs: number | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    if (name === 'SIGHUP' && firstMs === undefined && hangUp?.() === true) return;
    if (firstMs === undefined) {
      firstMs = performance.now();
      output.info(`${name}: stopping; once more to stop at once`);
      const waitMs = stopMs?.() ?? STOP_MS;
      setTimeout(() => {
        output.warn(`not stopped ${waitMs / 1000} s after ${name}: ending without waiting any longer`);
        endAtOnce(EXIT.interrupted);
      }, waitMs).unref();
      controller.abort(new NixcacheError('ERR_INTERRUPTED', `interrupted by ${name}`));
    } else if (performance.now() - firstMs > SAME_SIGNAL_MS) {
      endAtOnce(EXIT.interrupted);
    }
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal);
  return controller.signal;
}

/**
 * Ends the process. `process.exit` waits for libuv's threads, one of which may wait for ever in a system call, as in the
 * opening of a named pipe; another program in our place does not.
 */
export function endAtOnce(exitCode: ExitCode): never {
  process.emit('exit', exitCode); // programs that we started are stopped by its listeners
  const { NODE_OPTIONS: _, ...env } = process.env;
  try {
    process.execve?.(process.execPath, [process.execPath, '--eval', `process.exit(${exitCode})`], env);
  } catch {
    // Without it, as on Windows, this is as near as we come.
  }
  process.exit(exitCode);
}
