/** The command line: which commands there are, and how they explain themselves. */
import { Command } from 'commander';
import { type Environment, variable } from '../environment.ts';
import { addCopyCommand } from './commands/copy/command.ts';
import { addDiscoverCommand } from './commands/discover/command.ts';
import { addDoctorCommand } from './commands/doctor/command.ts';
import { addGcCommand } from './commands/gc/command.ts';
import { addInfoCommand } from './commands/info/command.ts';
import { addKeyCommand } from './commands/key/command.ts';
import { addListCommand } from './commands/list/command.ts';
import { addPinCommand } from './commands/pin/command.ts';
import { addPublishCommand } from './commands/publish/command.ts';
import { addPushCommand } from './commands/push/command.ts';
import { addServeCommand } from './commands/serve/command.ts';
import { addVerifyCommand } from './commands/verify/command.ts';
import { addLeadingOptions } from './common-options.ts';
import { type CommandContext, flagsOf } from './context.ts';
import { version } from './version.ts';

/** What commander has to say when a command line is wrong; `main` turns it into the message. */
export class UsageText {
  text = '';
}

export function buildProgram(context: CommandContext, usage: UsageText): Command {
  const program = new Command('nixcache')
    .description('Turns any flake plus any OCI registry into a signed Nix binary cache, with no server to run.')
    .version(`nixcache ${version()}`, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .exitOverride()
    .configureHelp({ minWidthToWrap: 20 })
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
  addLeadingOptions(program).hook('preAction', (_program, command) => context.output.configure(flagsOf(command)));

  program.commandsGroup('Publish:');
  addPublishCommand(program, context, async () => (await import('./commands/publish/run.ts')).runPublish);
  addPushCommand(program, context);
  addGcCommand(program, context, async () => (await import('./commands/gc/run.ts')).runGc);
  addPinCommand(program, context);
  addCopyCommand(program, context);
  program.commandsGroup('Use:');
  addServeCommand(program, context, async () => (await import('./commands/serve/run.ts')).runServe);
  program.commandsGroup('Look:');
  addListCommand(program, context);
  addInfoCommand(program, context);
  addDiscoverCommand(program, context);
  addVerifyCommand(program, context, async () => (await import('./commands/verify/run.ts')).runVerify);
  addDoctorCommand(program, context);
  program.commandsGroup('Set up:');
  addKeyCommand(program, context);
  program.helpCommand('help [command]', 'print help for a command');
  return program;
}

const FIRST_STEPS = `
Run 'nixcache COMMAND --help' for the options of a command, with examples.`;

const DEFAULT_HELP_WIDTH = 80;
const MAX_HELP_WIDTH = 100; // longer lines are hard to read

function helpWidth(columns: number | undefined, env: Environment): number {
  const width = columns ?? Number(variable(env, 'COLUMNS') ?? DEFAULT_HELP_WIDTH);
  return Math.min(width > 0 ? width : DEFAULT_HELP_WIDTH, MAX_HELP_WIDTH);
}
