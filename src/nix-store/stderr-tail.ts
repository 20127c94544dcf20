/**
 * The end of what a nix program wrote to stderr, bounded, and made fit for one line of an error message.
 *
 * Nix prints a trace first and the error proper last, as `error: …`; since 2.20 the trace itself opens with a bare
 * `error:` too. Source excerpts (`   3|  foo`) and the hint about --show-trace say nothing in one line.
 */
import { StringDecoder } from 'node:string_decoder';
import { ANSWER_FILE } from './flake-expression.ts';

/** Lines kept; Nix itself quotes the last 10 to 25 lines of a build log. */
const MAX_LINES = 60;
/** Longest line that is still passed on whole: a structured log line with a whole error trace in it. */
const MAX_LINE_BYTES = 1024 * 1024;
/** Longest excerpt in an error message. */
const MAX_SUMMARY_LENGTH = 1200;

// biome-ignore lint/suspicious/noControlCharactersInRegex: -- ANSI escapes are control characters
const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const NOISE = /^\s*(?:\d*\s*\||\(use '?--show-trace|\(stack trace truncated)/;
/** What Nix 2.8 says of the lock of a wrapper, which it makes and does not keep: `• Added input 'target/x':`, and what that is. */
const LOCKING =
  /^(?:• (?:Added|Updated|Removed) input '|\s+(?:follows '[^']*'|'[a-z+]+:[^']*' \(\d{4}-\d\d-\d\d\))$|warning: not writing modified lock file)/;
const OWN_POSITION = new RegExp(` at \\S*/${ANSWER_FILE.replaceAll('.', '\\.')}:\\d+:\\d+`, 'g');

export const stripAnsi = (text: string): string => text.replaceAll(ANSI, '');

/** Splits a stream into lines, hands each to `onLine`, and remembers the last ones that `onLine` did not take. */
export class StderrTail {
  readonly #decoder = new StringDecoder('utf8');
  readonly #onLine: ((line: string) => boolean) | undefined;
  readonly #lines: string[] = [];
  #rest = '';

  /** `onLine` returns true for a line that shall not be remembered. */
  constructor(onLine?: (line: string) => boolean) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    const parts = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = (parts.pop() ?? '').slice(-MAX_LINE_BYTES);
    for (const line of parts) this.remember(line);
  }

  end(): void {
    const last = this.#rest + this.#decoder.end();
    this.#rest = '';
    if (last !== '') this.remember(last);
  }

  remember(line: string): void {
    if (this.#onLine?.(line) === true) return;
    this.#lines.push(stripAnsi(line).trimEnd());
    if (this.#lines.length > MAX_LINES) this.#lines.shift();
  }

  get lines(): readonly string[] {
    return this.#lines;
  }
}

/** The error proper out of `lines`, as one line. */
export function summariseErrors(lines: readonly string[]): string {
  const useful = lines.filter((line) => line.trim() !== '' && !NOISE.test(line) && !LOCKING.test(line));
  const start = useful.findLastIndex((line) => /^\s*error:\s*\S/.test(line));
  const text = (start < 0 ? useful.slice(-5) : useful.slice(start))
    .join(' ')
    .replaceAll(/\s+/g, ' ')
    .replace(/^\s*error:\s*/, '')
    .replaceAll(OWN_POSITION, '')
    .replace(/:?\s*$/, ''); // a position has a colon at its end, for the source that is not shown here
  return text.length <= MAX_SUMMARY_LENGTH ? text : `${text.slice(0, MAX_SUMMARY_LENGTH)}…`;
}
