/** The command line: which commands there are, and how they explain themselves. */
import { Command, type Help } from 'commander';
import { type Environment, variable } from '../environment.ts';
import { VERSION } from '../version.ts';
import { addCommand, addLeadingOptions, type CommandSpec } from './command.ts';
import { COPY_COMMAND } from './commands/copy/command.ts';
import { DISCOVER_COMMAND } from './commands/discover/command.ts';
import { DOCTOR_COMMAND } from './commands/doctor/command.ts';
import { GC_COMMAND } from './commands/gc/command.ts';
import { INFO_COMMAND } from './commands/info/command.ts';
import { GENERATE_COMMAND, PUBLIC_COMMAND } from './commands/key/command.ts';
import { LIST_COMMAND } from './commands/list/command.ts';
import { PIN_COMMAND } from './commands/pin/command.ts';
import { PUBLISH_COMMAND } from './commands/publish/command.ts';
import { PUSH_COMMAND } from './commands/push/command.ts';
import { SERVE_COMMAND } from './commands/serve/command.ts';
import { VERIFY_COMMAND } from './commands/verify/command.ts';
import type { CommandContext } from './context.ts';
import { displayWidth } from './ui/width.ts';

/** What commander has to say when a command line is wrong; `main` turns it into the message. */
export class UsageText {
  text = '';
}

/** By what one wants to do. */
export const COMMANDS: Readonly<Record<string, readonly CommandSpec[]>> = {
  'Publish:': [PUBLISH_COMMAND, PUSH_COMMAND, GC_COMMAND, PIN_COMMAND, COPY_COMMAND],
  'Use:': [SERVE_COMMAND],
  'Look:': [LIST_COMMAND, INFO_COMMAND, DISCOVER_COMMAND, VERIFY_COMMAND, DOCTOR_COMMAND],
};

/** Below `key`. */
export const KEY_COMMANDS: readonly CommandSpec[] = [GENERATE_COMMAND, PUBLIC_COMMAND];

/**
 * The options of the commands whose names are in `words`, or of all if none is: to make those that nobody asked for takes
 * 10 ms.
 */
export function buildProgram(context: CommandContext, usage: UsageText, words: readonly string[]): Command {
  const program = new Command('nixcache')
    .description('Turns any flake plus any OCI registry into a signed Nix binary cache, with no server to run.')
    .version(`nixcache ${VERSION}`, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .exitOverride()
    .configureHelp({ minWidthToWrap: MIN_WRAP_WIDTH, formatItem })
    .configureOutput({
      writeOut: (text) => context.output.line(text.trimEnd()),
      // Called for errors, and for the help that stands in for a command that is missing.
      writeErr: (text) => {
        usage.text += text;
      },
      outputError: (text, write) => write(text),
      getOutHelpWidth: () => helpWidth(process.stdout.columns, context.env),
      getErrHelpWidth: () => helpWidth(process.stderr.columns, context.env),
    })
    .addHelpText('after', FIRST_STEPS);
  addLeadingOptions(program);
  program.hook('preAction', (_program, command) => context.output.configure(command.optsWithGlobals()));
  const names = new Set(words);
  const isAsked = ({ name }: CommandSpec): boolean => names.has(name);
  const asked = [...Object.values(COMMANDS).flat(), ...KEY_COMMANDS].filter(isAsked);
  const add = (parent: Command, spec: CommandSpec): void =>
    addCommand(parent, asked.length === 0 || asked.includes(spec) ? spec : { ...spec, settings: [] }, context);
  for (const [group, specs] of Object.entries(COMMANDS)) {
    program.commandsGroup(group);
    for (const spec of specs) add(program, spec);
  }
  program.commandsGroup('Set up:');
  const key = program
    .command('key')
    .helpCommand(false)
    .summary('make and show signing keys')
    .description('Makes and shows signing keys in the format of Nix.');
  for (const spec of KEY_COMMANDS) add(key, spec);
  program.helpCommand('help [command]', 'print help for a command');
  return program;
}

const FIRST_STEPS = `
Run 'nixcache COMMAND --help' for the options of a command, with examples.`;

/** Narrower than this, a column of words beside the options is no longer read. */
const MIN_WRAP_WIDTH = 20;

/** An option and what it does: beside it, or below where the terminal is too narrow. */
function formatItem(this: Help, term: string, termWidth: number, description: string, helper: Help): string {
  const width = this.helpWidth ?? DEFAULT_HELP_WIDTH;
  const [indent, below] = ['  ', '      '];
  const besideWidth = width - termWidth - 2 * indent.length;
  // A word that is longer than the column would stand out of it.
  const longest = Math.max(...description.split(' ').map(displayWidth));
  const isBeside = besideWidth >= Math.max(MIN_WRAP_WIDTH, longest);
  const [column, first] = isBeside
    ? [' '.repeat(termWidth + 2 * indent.length), indent + term.padEnd(termWidth) + indent]
    : [below, `${indent}${term}\n${below}`];
  if (description === '') return indent + term;
  return first + helper.boxWrap(description, width - column.length).replaceAll('\n', `\n${column}`);
}

const DEFAULT_HELP_WIDTH = 80;
const MAX_HELP_WIDTH = 100; // longer lines are hard to read

function helpWidth(columns: number | undefined, env: Environment): number {
  const width = columns ?? Number(variable(env, 'COLUMNS') ?? DEFAULT_HELP_WIDTH);
  return Math.min(width > 0 ? width : DEFAULT_HELP_WIDTH, MAX_HELP_WIDTH);
}
