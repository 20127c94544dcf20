/** What a command is, as data: its words, its settings and where its work begins. Here it becomes one of commander's. */
import { type Command, Option } from 'commander';
import { CACHE } from '../config/cache-reference.ts';
import { CREDENTIALS } from '../config/credentials.ts';
import { OUTPUT } from '../config/output.ts';
import { type Flags, flagNames, type Setting, type SettingTable } from '../config/setting.ts';
import { NixcacheError } from '../errors.ts';
import type { CommandContext } from './context.ts';
import { wrap, wrapLines } from './ui/width.ts';

export interface Call {
  /** Those that were given, in order; of a variadic one each. */
  readonly args: readonly string[];
  /** Those before the command's name included. */
  readonly flags: Flags;
  readonly context: CommandContext;
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  /** `[['[flake]', 'flake reference'], …]` */
  readonly arguments?: readonly (readonly [string, string])[];
  readonly settings: readonly SettingTable[];
  /** A command line each, and what it does. */
  readonly examples: readonly (readonly [string, string])[];
  /** Below the examples. */
  readonly notes?: string;
  /**
   * Imports the work when the command is chosen, and not before: every command starts sooner. Told of the call, so that
   * other programs can begin meanwhile.
   */
  load(call: Call): Promise<(call: Call) => Promise<void>>;
}

/** The same wherever one picks by a glob; src/nix/attr-path.ts. */
export const GLOBS = `Globs:
  Over attribute paths, as in 'packages.*.hello', * and ? stay between two dots, and ** spans any number of them: \
'**.hello'. What matches has all below it: 'packages.x86_64-linux'. {a,b} and [ab] are as in a shell. Over names \
and store paths * is any text: 'hello-*'. One that matches nothing is an error, beside others a warning.`;

const { cache, to, from, ...registry } = CACHE;

/** Of commands that are told by arguments which caches they reach. */
export const REGISTRY: SettingTable = { ...OUTPUT, ...CREDENTIALS, ...registry };
/** Of commands that reach a cache, to write to it or to read from it. */
export const TO_CACHE: SettingTable = { ...OUTPUT, cache, to, ...REGISTRY };
export const FROM_CACHE: SettingTable = { ...OUTPUT, cache, from, ...REGISTRY };

export function addCommand(parent: Command, spec: CommandSpec, context: CommandContext): void {
  const command = parent.command(spec.name).summary(spec.summary).description(spec.description);
  for (const [name, help] of spec.arguments ?? []) command.argument(name, help);
  for (const option of spec.settings.flatMap(optionsOf)) command.addOption(option);
  refuseBoth(command);
  command.addHelpText('after', () => `\nExamples:\n${examplesOf(spec, helpWidthOf(command))}`);
  const { notes } = spec;
  if (notes !== undefined) command.addHelpText('after', () => `\n${wrapLines(notes, helpWidthOf(command))}`);
  command.action(async () => {
    const call: Call = { args: command.args, flags: command.optsWithGlobals(), context };
    refuseEmpty(spec, call);
    const run = await spec.load(call);
    await run(call);
  });
}

/** A command line stays whole, so that it can be copied. */
const examplesOf = ({ examples }: CommandSpec, width: number): string =>
  examples
    .map(([line, meaning]) => [...wrap(meaning, width - 4).map((part) => `  # ${part}`), `  $ ${line}`].join('\n'))
    .join('\n\n');

const helpWidthOf = (command: Command): number =>
  command.configureOutput().getOutHelpWidth?.() ?? Number.POSITIVE_INFINITY;

/** What a variable of a shell leaves that is not set: an empty path would be the current directory. @throws {NixcacheError} ERR_USAGE */
function refuseEmpty({ name, arguments: known = [], settings }: CommandSpec, { args, flags }: Call): void {
  const isEmpty = (text: unknown): boolean => typeof text === 'string' && text.trim() === '';
  const refuse = (what: string): never => {
    throw new NixcacheError('ERR_USAGE', `${name}: ${what} is empty; is the variable set that it comes from?`);
  };
  for (const [index, [word]] of known.entries()) {
    const given = word.includes('...') ? args.slice(index) : args.slice(index, index + 1);
    if (given.some(isEmpty)) refuse(word);
  }
  for (const { flag } of settings.flatMap((table) => Object.values(table))) {
    if (flag === undefined) continue;
    const { name: option, attribute } = flagNames(flag);
    if ([flags[attribute]].flat().some(isEmpty)) refuse(option);
  }
}

/** `--upstream URL` beside `--no-upstream` would mean what came last; of a switch and its denial that is what is meant. */
function refuseBoth(command: Command): void {
  for (const denial of command.options.filter(({ negate }) => negate)) {
    const option = command.options.find(({ long, required }) => required && `--no-${long?.slice(2)}` === denial.long);
    if (option === undefined) continue;
    const given = new Set<Option>();
    for (const each of [option, denial]) {
      command.on(`option:${each.name()}`, () => {
        if (given.add(each).size === 2)
          command.error(`error: option '${option.flags}' cannot be used with option '${denial.flags}'`);
      });
    }
  }
}

/** What may stand before a command's name as well. The commands' own help explains it. */
export function addLeadingOptions(program: Command): void {
  for (const option of optionsOf({ ...OUTPUT, cache, ...REGISTRY })) program.addOption(option.hideHelp());
}

const optionsOf = (table: SettingTable): readonly Option[] =>
  Object.values(table).flatMap((setting) => {
    const { flag, no, group, type, conflicts, hidden } = setting;
    if (flag === undefined) return [];
    const option = new Option(flag, helpOf(setting));
    if (type.takes === 'values') option.argParser(collect);
    const denial = no === undefined ? [] : [new Option(flagNames(flag).name.replace('--', '--no-'), no)];
    const options = [option.conflicts([...(conflicts ?? [])]).hideHelp(hidden ?? false), ...denial];
    return group === undefined ? options : options.map((each) => each.helpGroup(group));
  });

/** `port to listen on (or NIXCACHE_PORT; default: 37515)` */
function helpOf({ help = '', env, note, default: fallback, type }: Setting): string {
  const said = note ?? (fallback === undefined ? undefined : `default: ${fallback}`);
  const notes = [env === undefined ? undefined : `or ${env}`, said].filter((each) => each !== undefined);
  const repeatable = type.takes === 'values' ? '; repeatable' : '';
  return `${help}${repeatable}${notes.length === 0 ? '' : ` (${notes.join('; ')})`}`;
}

/** `--no-…` may have set it to false before. */
const collect = (value: string, previous: unknown): readonly string[] => [
  ...(Array.isArray(previous) ? previous.map(String) : []),
  value,
];
