/**
 * The only place that writes to the user. stdout carries the result and nothing else; stderr tells the story. Secrets
 * that were registered are blotted out of both.
 */
import { stripVTControlCharacters, styleText } from 'node:util';
import { type Environment, variable } from '../../environment.ts';
import { messageOf } from '../../errors.ts';
import {
  appendToFile,
  cutSummary,
  formatOutputs,
  formatWorkflowCommand,
  isGitHubActions,
} from '../../github/actions.ts';
import type { SecretKeeper } from '../../http/sent-secrets.ts';
import { type Facts, formatRecord, type LogLevel } from './log-record.ts';
import { toJson, visible, withoutCommands } from './plain-text.ts';
import { Progress, type ProgressOptions, type ProgressSurface, type ProgressTask } from './progress.ts';
import { Secrets } from './secrets.ts';

/** What is needed of process.stdout and process.stderr. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface OutputOptions {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly env: Environment;
}

export type OutputLevel = 'quiet' | 'normal' | 'verbose';
type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'green';

/** `doctor`'s verdicts, and `verify`'s headings. */
const ALARMING = /^(?:PROBLEM|warning|damage|STILL THERE AFTER THE REPAIR)(?=[ :\n]|$)/gm;
/** Whether the stream is a terminal we know ourselves. */
const UNASKED = { validateStream: false };

/** A kind, of each step. */
const MAX_ANNOTATIONS = 10;
/** Lines of a log in an annotation. */
const MAX_DETAILS = 10;

const DEFAULT_COLUMNS = 80;
const MIN_COLUMNS = 20;

export class Output {
  readonly #stdout: TextStream;
  readonly #stderr: TextStream;
  readonly #env: Environment;
  readonly #secrets = new Secrets();
  #level: OutputLevel = 'normal';
  #json = false;
  #isLog = false;
  /** Whether anything of the result is on stdout. */
  #hasResult = false;
  readonly #annotations = new Map<string, number>();
  #liveLines = 0;
  #live: readonly string[] = [];
  #progress: Progress | undefined;

  constructor({ stdout, stderr, env }: OutputOptions) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#env = env;
  }

  configure(options: { readonly json?: boolean; readonly quiet?: boolean; readonly verbose?: boolean }): void {
    this.#json = options.json ?? false;
    this.#level = options.quiet ? 'quiet' : options.verbose ? 'verbose' : 'normal';
  }

  /** From here on each line of the story is a record in JSON, for a program that collects logs. */
  logAsJson(): void {
    this.#isLog = true;
  }

  /** Whether `--json` was given. */
  get json(): boolean {
    return this.#json;
  }

  get level(): OutputLevel {
    return this.#level;
  }

  /** Never shows `secret` from here on. */
  addSecret(secret: string | undefined): void {
    this.#secrets.add(secret);
  }

  /** The same, of what is being sent. */
  readonly secrets: SecretKeeper = {
    onSecret: (secret, kind, publicLength) =>
      kind === 'lasting' ? this.#secrets.add(secret, publicLength) : this.#secrets.addPassing(secret),
    withoutSecrets: (text) => this.#secrets.redact(text),
  };

  /** The result: `value` as one line of JSON with `--json`, otherwise the text of `human`. */
  result(value: unknown, human: () => string): void {
    if (this.#json) this.jsonLine(value);
    else this.line(human(), { orNothing: true });
  }

  /** A result that is JSON with and without `--json`. */
  jsonLine(value: unknown): void {
    const whole = toJson(value);
    // What is no text stays what it is: a number, say, that a password has too.
    const shown = this.#secrets.redact(whole, 'result') === whole ? whole : toJson(this.#withoutSecrets(value));
    this.#writeResult(shown, { isClean: true });
  }

  /** With `--json`, the document of a command that failed before it had another: stdout always holds one. */
  failure(code: string, message: string): void {
    if (this.#json && !this.#hasResult) this.jsonLine({ error: { code, message: this.#secrets.redact(message) } });
  }

  /** A line of the result that is the same with and without `--json`. */
  line(text: string, { orNothing = false }: { readonly orNothing?: boolean } = {}): void {
    if (text !== '' || !orNothing) this.#writeResult(visible(text));
  }

  /** A line of the story. `facts` are for a log that programs read. */
  info(text: string, facts: Facts = {}): void {
    if (this.#level === 'quiet' || this.#record('info', text, facts)) return;
    this.#story(visible(text));
  }

  /** A line for those who asked for more. */
  detail(text: string, facts: Facts = {}): void {
    if (this.#level !== 'verbose' || this.#record('debug', text, facts)) return;
    this.#story(this.#paint('dim', visible(text)));
  }

  /** Shown even when quiet: it asks for something to be done. `details` are further lines, the end of a log perhaps. */
  warn(text: string, details: readonly string[] = [], facts: Facts = {}): void {
    if (this.#record('warn', [text, ...details].join('\n'), facts)) return;
    if (this.#annotate('warning', [text, ...details.slice(-MAX_DETAILS)])) return;
    this.#story(`${this.#paint('yellow', 'warning:')} ${visible(text)}`);
    for (const line of details) this.#story(`  > ${visible(line)}`);
  }

  /** On GitHub, says of a finding that is in the result what those should see who do not read the log. */
  annotate(kind: 'error' | 'warning', text: string): void {
    if (isGitHubActions(this.#env)) this.#annotate(kind, [text]);
  }

  /** Whether GitHub was told: it shows ten a kind of each step, and the log has to do for the rest. */
  #annotate(kind: 'error' | 'warning', lines: readonly string[]): boolean {
    if (!isGitHubActions(this.#env)) return false;
    const count = (this.#annotations.get(kind) ?? 0) + 1;
    this.#annotations.set(kind, count);
    if (count > MAX_ANNOTATIONS) return false;
    this.#command(kind, lines.join('\n'), { title: 'nixcache' });
    return true;
  }

  /** The first line says what went wrong, the others what helps. */
  error(text: string, hints: readonly string[] = []): void {
    this.#progress?.close();
    if (this.#record('error', [text, ...hints].join('\n'))) return;
    if (this.#annotate('error', [text, ...hints])) return;
    this.#story(`${this.#paint('red', 'nixcache:')} ${visible(text)}`);
    for (const hint of hints) this.#story(`  ${visible(hint)}`);
  }

  /** Heads what follows; GitHub folds it until `endGroup`. */
  group(title: string): void {
    if (this.#level === 'quiet') return;
    if (isGitHubActions(this.#env)) this.#command('group', title);
    else this.#story(this.#paint('bold', visible(title)));
  }

  endGroup(): void {
    if (this.#level !== 'quiet' && isGitHubActions(this.#env)) this.#command('endgroup');
  }

  /** Follows long work; end the task on every path. */
  startProgress(title: string, options: ProgressOptions = {}): ProgressTask {
    this.#progress ??= new Progress(this.#surface());
    return this.#progress.start(title, options);
  }

  /** Markdown for the job's page on GitHub; nowhere else it goes. */
  async stepSummary(markdown: string): Promise<void> {
    const text = cutSummary(`${this.#secrets.redact(markdown, 'result')}\n`);
    await this.#tellStep('GITHUB_STEP_SUMMARY', text, "the job's page does not get this step's summary");
  }

  /** Values for later steps of a GitHub job. */
  async stepOutputs(values: Readonly<Record<string, string>>): Promise<void> {
    const shown = Object.entries(values).map(([name, value]) => [name, this.#secrets.redact(value, 'result')]);
    const text = formatOutputs(Object.fromEntries(shown));
    await this.#tellStep('GITHUB_OUTPUT', text, "later steps do not get this step's outputs");
  }

  /** The work is done by now, whatever becomes of the word about it: a file that cannot be written is a warning. */
  async #tellStep(name: string, text: string, loss: string): Promise<void> {
    try {
      await appendToFile(this.#env, name, text);
    } catch (error) {
      this.warn(`${loss}: ${messageOf(error)}`);
    }
  }

  /** Columns for tables on stdout; undefined where lines are not to be cut. */
  get tableWidth(): number | undefined {
    return this.#stdout.isTTY ? this.#columns(this.#stdout) : undefined;
  }

  /** Whether progress redraws itself, so that a line need not stay of everything that happens. */
  get isLive(): boolean {
    return this.#surface().mode === 'live';
  }

  /** Leaves the terminal clean. */
  close(): void {
    this.#progress?.close();
  }

  #surface(): ProgressSurface {
    const isLive = this.#stderr.isTTY === true && !this.#isCi() && variable(this.#env, 'TERM') !== 'dumb';
    const columns = (): number => this.#columns(this.#stderr);
    return {
      mode: this.#level === 'quiet' ? 'silent' : isLive ? 'live' : 'log',
      get width() {
        return columns() - 1; // some terminals wrap at the last column already
      },
      drawLive: (lines) => this.#drawLive(lines),
      story: (line) => this.#story(visible(line)),
    };
  }

  #isCi(): boolean {
    const ci = variable(this.#env, 'CI');
    return isGitHubActions(this.#env) || (ci !== undefined && ci !== 'false' && ci !== '0');
  }

  #columns(stream: TextStream): number {
    const columns = stream.columns ?? Number(variable(this.#env, 'COLUMNS'));
    return Number.isInteger(columns) && columns > 0 ? Math.max(columns, MIN_COLUMNS) : DEFAULT_COLUMNS;
  }

  /** https://no-color.org: set and not empty means none. */
  #paint(style: Style, text: string): string {
    return this.#isPlain(this.#stderr) ? text : styleText(style, text, UNASKED);
  }

  #isPlain(stream: TextStream): boolean {
    return !stream.isTTY || Boolean(variable(this.#env, 'NO_COLOR')) || variable(this.#env, 'TERM') === 'dumb';
  }

  #writeResult(text: string, { isClean = false }: { readonly isClean?: boolean } = {}): void {
    this.#hasResult = true;
    const live = this.#stdout.isTTY ? this.#live : [];
    if (live.length > 0) this.#drawLive([]);
    const shown = isClean ? text : this.#secrets.redact(text, 'result');
    this.#stdout.write(`${this.#emphasise(this.#harmless(shown))}\n`);
    if (live.length > 0) this.#drawLive(live);
  }

  /** `value`, which becomes JSON, with secrets blotted out of its texts and keys alone. */
  #withoutSecrets(value: unknown): unknown {
    const shown = (text: string): string => this.#secrets.redact(text, 'result');
    const plain: unknown = JSON.parse(JSON.stringify(value), (_key, each: unknown) => {
      if (typeof each === 'string') return shown(each);
      if (typeof each !== 'object' || each === null || Array.isArray(each)) return each;
      return Object.fromEntries(Object.entries(each).map(([key, held]) => [shown(key), held]));
    });
    return plain;
  }

  /** On a terminal, what nobody should overlook has a colour: the word for it begins a line. */
  #emphasise(text: string): string {
    if (this.#json || this.#isPlain(this.#stdout)) return text;
    return text.replaceAll(ALARMING, (word) => styleText(word.startsWith('warning') ? 'yellow' : 'red', word, UNASKED));
  }

  /** Whether it went into a log that programs read. */
  #record(level: LogLevel, message: string, facts: Facts = {}): boolean {
    if (!this.#isLog) return false;
    const record = { time: new Date(), level, message };
    this.#writeStory(formatRecord(record, facts, (text) => this.#secrets.redact(text)));
    return true;
  }

  #story(text: string): void {
    this.#writeStory(this.#harmless(this.#secrets.redact(text)));
  }

  /** A command of GitHub's, which we mean. */
  #command(...[command, text = '', properties]: Parameters<typeof formatWorkflowCommand>): void {
    this.#writeStory(this.#secrets.redact(formatWorkflowCommand(command, visible(text), properties)));
  }

  /** The runner looks for commands in all that a step prints. */
  #harmless(text: string): string {
    return isGitHubActions(this.#env) ? withoutCommands(text) : text;
  }

  #writeStory(text: string): void {
    const live = this.#live;
    if (live.length > 0) this.#drawLive([]);
    this.#stderr.write(`${text}\n`);
    if (live.length > 0) this.#drawLive(live);
  }

  #drawLive(lines: readonly string[]): void {
    const up = this.#liveLines > 0 ? `\u001b[${this.#liveLines}A\r\u001b[J` : '';
    const text = lines.map((line) => `${stripVTControlCharacters(this.#secrets.redact(line))}\n`).join('');
    if (up !== '' || text !== '') this.#stderr.write(up + text);
    this.#liveLines = lines.length;
    this.#live = lines;
  }
}
