/** The process: arguments in, exit code out. */
import { closeSync, openSync } from 'node:fs';
import { type Command, CommanderError } from 'commander';
import { holdsSecret, OWN_SECRETS } from '../child-environment.ts';
import { TWO_WORD_FLAGS } from '../config/publish-settings.ts';
import { suggest } from '../config/suggestion.ts';
import type { Environment } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { ioError } from '../io-error.ts';
import { secretsIn } from '../url-secrets.ts';
import { VERSION } from '../version.ts';
import type { CommandContext } from './context.ts';
import { eraseSecrets } from './environment-block.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { assertExtraCertificates } from './extra-certificates.ts';
import { reportFailure } from './failure.ts';
import { endAtOnce, interruptible } from './interruption.ts';
import { buildProgram, UsageText } from './program.ts';
import { Output } from './ui/output.ts';

async function main(): Promise<void> {
  const env: Environment = { ...process.env };
  const output = new Output({ stdout: process.stdout, stderr: process.stderr, env });
  output.configure({ json: wantsJson(process.argv) }); // before anything can go wrong
  for (const name of OWN_SECRETS) output.addSecret(env[name]);
  try {
    eraseSecrets();
  } catch {
    output.warn(
      'this system does not let secrets be taken out of the environment of a process, where builds without a sandbox can read them; give them in files',
    );
  }
  // An argument may be quoted in other forms than its own: as a path, in pieces.
  for (const secret of process.argv.flatMap(secretsIn)) output.addSecret(secret);
  for (const [name, value = ''] of Object.entries(env)) {
    if (holdsSecret(name, value)) for (const secret of secretsIn(value)) output.addSecret(secret);
  }
  const onSignals: Pick<CommandContext, 'onHangUp' | 'stopMs' | 'interrupted'> = {};
  const signal = interruptible({
    output,
    hangUp: () => {
      if (onSignals.onHangUp === undefined || isTerminalGone()) return false;
      onSignals.onHangUp();
      return true;
    },
    stopMs: () => onSignals.stopMs,
  });
  const software = `nixcache ${VERSION}, Node ${process.version}, ${process.platform}`;
  const failure = { output, signal, software, interrupted: () => onSignals.interrupted };
  endQuietlyWithoutReader();
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, (error: unknown) => process.exit(reportFailure(error, failure)));
  }
  let cwd: string;
  try {
    assertExtraCertificates(env);
    cwd = workingDirectory();
  } catch (error) {
    process.exit(reportFailure(error, failure));
  }
  const context = Object.assign(onSignals, {
    ...{ output, env, cwd, stdin: process.stdin, signal, exitCode: undefined },
  });
  let exitCode: ExitCode;
  try {
    exitCode = await run(process.argv, context);
  } catch (error) {
    exitCode = reportFailure(error, failure);
  }
  output.close();
  process.exitCode = exitCode;
  await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
  if (signal.aborted) endAtOnce(exitCode);
  process.exit(exitCode); // kept-alive connections and watchers hold nobody up
}

/** @throws {NixcacheError} ERR_USAGE when somebody has removed it */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch (cause) {
    throw new NixcacheError('ERR_USAGE', 'the directory that this was started in is gone; go to another one (cd ~)', {
      cause,
    });
  }
}

async function run(argv: readonly string[], context: CommandContext): Promise<ExitCode> {
  const usage = new UsageText();
  const program = buildProgram(context, usage, argv);
  try {
    await program.parseAsync(joinPairs(helpOfNested(argv, program), TWO_WORD_FLAGS));
    return context.exitCode ?? EXIT.done;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return EXIT.done; // help or version was asked for
    reportUsage(usage.text, reachedCommand(program, argv), context.output, argv[2] === 'help' ? argv[3] : undefined);
    return EXIT.usage;
  }
}

const wantsJson = (argv: readonly string[]): boolean => {
  const end = argv.indexOf('--');
  return argv.slice(2, end < 0 ? undefined : end).includes('--json');
};

/** `help key generate` as `key generate --help`: commander's own looks at one word. */
function helpOfNested(argv: readonly string[], program: Command): readonly string[] {
  const [node = '', script = '', first, group, ...words] = argv;
  const nested = program.commands.find((each) => each.name() === group)?.commands ?? [];
  if (first !== 'help' || group === undefined || nested.length === 0 || words.length === 0) return argv;
  const isKnown = nested.some((each) => each.name() === words[0]);
  return [node, script, group, ...(isKnown ? [...words, '--help'] : words)];
}

/** `--option NAME VALUE` as one word after the flag: no parser of ours takes two. */
function joinPairs(argv: readonly string[], flags: readonly string[]): string[] {
  const joined = [...argv];
  for (let at = 0; at < joined.length && joined[at] !== '--'; at++) {
    const [flag = '', name = '', value] = joined.slice(at, at + 3);
    if (flags.includes(flag) && value !== undefined && /^[^-=][^=]*$/.test(name))
      joined.splice(at + 1, 2, `${name}=${value}`);
  }
  return joined;
}

/** `error: unknown option '--chache'\n(Did you mean --cache?)` in our own form. */
function reportUsage(text: string, command: Command, output: Output, helpFor: string | undefined): void {
  // What was given with an option that is unknown may be a password.
  const [first = '', ...rest] = text
    .trimEnd()
    .replace(/^(error: unknown option '[^'=]+)=[\s\S]*?'(?=\n|$)/, "$1'")
    .split('\n');
  const tell = (message: string, hints: readonly string[]): void => {
    output.error(message, hints);
    output.failure('ERR_USAGE', message);
  };
  if (!first.startsWith('error: ') && helpFor !== undefined) {
    const names = command.commands.map((each) => each.name());
    const meant = suggest(helpFor, names);
    tell(`unknown command '${helpFor}'`, [
      ...(meant === undefined ? [] : [`did you mean ${meant}?`]),
      'see: nixcache --help',
    ]);
    return;
  }
  if (!first.startsWith('error: ')) {
    tell('a command is missing', ['', ...text.trimEnd().split('\n')]);
    return;
  }
  const theirs = rest.find((line) => line.startsWith('('))?.replace(/^\(Did (.*)\)$/, 'did $1');
  const meant = suggestion(first, command) ?? theirs;
  tell(first.slice('error: '.length), [...(meant === undefined ? [] : [meant]), `see: ${pathOf(command)} --help`]);
}

/**
 * commander suggests no option that its help hides, as the program's help does with those of all commands; and neither
 * the whole of a command of which the beginning was given, nor the option that is called so.
 */
function suggestion(message: string, command: Command): string | undefined {
  const [, kind, word = ''] = /^error: unknown (option|command) '([^'=]+)/.exec(message) ?? [];
  const flags = command.options.map(({ long }) => long).filter((long) => typeof long === 'string');
  const names = command.commands.map((each) => each.name()).filter((name) => name.startsWith(word));
  const meant = kind === 'option' ? suggest(word, flags) : flags.find((flag) => flag === `--${word}`);
  const whole = kind === 'command' && names.length === 1 ? names[0] : undefined;
  const found = meant ?? whole;
  return found && `did you mean ${found}?`;
}

/** The command that `argv` got to. */
function reachedCommand(program: Command, argv: readonly string[]): Command {
  let command = program;
  for (const argument of argv.slice(2)) command = command.commands.find((each) => each.name() === argument) ?? command;
  return command;
}

const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;

/** Whether there was a terminal, and its window was closed: then a SIGHUP is no request to reload. */
function isTerminalGone(): boolean {
  if (!process.stdin.isTTY) return false;
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return false;
  } catch {
    return true;
  }
}

/** `nixcache list | head`: the reader has seen enough, which is no error. stderr's reader may leave too. */
function endQuietlyWithoutReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.done);
    throw ioError('write the result to', 'standard output', error, 'send it elsewhere');
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

const flushed = (stream: NodeJS.WriteStream): Promise<void> =>
  new Promise((resolve) => {
    stream.write('', () => resolve());
  });

await main();
