/** What the user reads when something was thrown: one line, what helps, and a stack only for bugs. */
import { type ErrorCode, isNixcacheError, messageOf } from '../errors.ts';
import { ioCodeOf, ioReason } from '../io-error.ts';
import { EXIT, type ExitCode, exitCodeOf } from './exit-codes.ts';
import type { Output } from './ui/output.ts';

export interface FailureContext {
  readonly output: Output;
  /** Aborted when the user interrupted. */
  readonly signal: AbortSignal;
  /** What is said of an interruption, where the command knows more than that the cache is whole. */
  readonly interrupted?: (() => string | undefined) | undefined;
  /** `nixcache 0.1.0, Node v24.0.0, linux` */
  readonly software: string;
}

/** Tells of `error`, with `--json` also on stdout, and returns the exit code for it. */
export function reportFailure(error: unknown, { output, signal, interrupted, software }: FailureContext): ExitCode {
  const tell = (code: ReportedCode, text: string, hints: readonly string[]): void => {
    output.error(text, hints);
    output.failure(code, text);
  };
  if (signal.aborted) {
    const hints = output.level === 'verbose' ? causes(error, 'while stopping') : [];
    tell('ERR_INTERRUPTED', interrupted?.() ?? 'interrupted; the cache is whole', hints);
    return EXIT.interrupted;
  }
  const hints = output.level === 'verbose' ? causes(causeOf(error), 'caused by') : [];
  const { code, message } = reportedError(error);
  if (code !== 'ERR_BUG') tell(code, message, hints);
  else {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    tell(code, message, [
      ...stack.split('\n'),
      ...hints,
      `please report it with these lines, what you ran, and: ${software}`,
    ]);
  }
  return exitCodeOf(error);
}

/** What scripts read: docs/json.md lists them. */
type ReportedCode = ErrorCode | 'ERR_BUG';

/** What is said of `error`; ERR_BUG where nobody thought of it. */
export function reportedError(error: unknown): { readonly code: ReportedCode; readonly message: string } {
  if (isNixcacheError(error)) return { code: error.code, message: messageOf(error) };
  if (isSystemError(error)) return { code: 'ERR_IO', message: whatFailed(error) };
  return { code: 'ERR_BUG', message: 'this is a bug in nixcache, and it is our fault' };
}

/** Errors of the operating system that reached us as they are: a full disk is no bug. */
const isSystemError = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  typeof error.code === 'string' &&
  ('syscall' in error || SYSTEM.has(error.code));

/** Of Node's own making, without a system call. */
const SYSTEM = new Set(['ERR_FS_FILE_TOO_LARGE', 'ERR_FS_EISDIR', 'ERR_OUT_OF_MEMORY', 'ERR_WORKER_OUT_OF_MEMORY']);

/** `write /x: the disk is full; …`: which call on what failed, as far as the error tells. */
function whatFailed(error: unknown): string {
  const reason = ioReason(error);
  if (ioCodeOf(error) === undefined || reason === messageOf(error)) return reason;
  const { syscall, path } = error as NodeJS.ErrnoException;
  return `${[syscall, path].filter((word) => word !== undefined).join(' ')}: ${reason}`;
}

const causeOf = (error: unknown): unknown => (error instanceof Error ? error.cause : undefined);

/** A chain of causes ends; one that is made to circle does too. */
const MAX_CAUSES = 8;

function causes(first: unknown, label: string): string[] {
  const lines: string[] = [];
  for (let error = first; error !== undefined && lines.length < MAX_CAUSES; error = causeOf(error)) {
    lines.push(`${label}: ${messageOf(error)}`);
  }
  return lines;
}
