/** The options that commands share, so that each is called and explained the same everywhere. */
import { type Command, Option } from 'commander';

/** Collects a repeatable option. `--no-…` may have set it to false before. */
export const collect = (value: string, previous: unknown): readonly string[] => [
  ...(Array.isArray(previous) ? previous.map(String) : []),
  value,
];

const OUTPUT = 'Output options:';
const CACHE = 'Cache options:';

function outputOptions(): Option[] {
  return [
    new Option('--json', 'print the result as JSON'),
    new Option('-q, --quiet', 'print nothing but the result, warnings and errors'),
    new Option('-v, --verbose', 'tell more of what is done, and the causes of errors'),
    new Option('--config <file>', 'config file (default: ./nixcache.toml, else ~/.config/nixcache/config.toml)'),
  ].map((option) => option.helpGroup(OUTPUT));
}

function cacheOptions(): Option[] {
  return [
    new Option('--cache <ref>', 'the cache: ghcr.io/owner/repo/nix-cache or oci:PATH (or NIXCACHE_CACHE)'),
    new Option('--username <name>', 'user name for the registry (or NIXCACHE_USERNAME)'),
    new Option('--password-stdin', 'read the registry password or token from stdin (or NIXCACHE_PASSWORD)'),
    new Option('--plain-http', 'speak http with the registry, without TLS'),
    new Option('--registry-kind <kind>', 'treat the registry as ghcr, ecr, hub, zot, … (or NIXCACHE_REGISTRY_KIND)'),
  ].map((option) => option.helpGroup(CACHE));
}

const addAll = (command: Command, options: readonly Option[]): Command =>
  options.reduce((each, option) => each.addOption(option), command);

/** On every command. */
export const addOutputOptions = (command: Command): Command => addAll(command, outputOptions());

/** On commands that reach a cache; `alias` is its other name for those who write (`to`) and read (`from`). */
export function addCacheOptions(command: Command, alias: 'to' | 'from'): Command {
  const other = new Option(`--${alias} <ref>`, 'the same as --cache').helpGroup(CACHE);
  return addAll(addOutputOptions(command), [...cacheOptions().slice(0, 1), other, ...cacheOptions().slice(1)]);
}

/** On commands that are told by arguments which caches they reach. */
export const addRegistryOptions = (command: Command): Command =>
  addAll(addOutputOptions(command), cacheOptions().slice(1));

/** On the program: what may stand before a command's name as well. The commands' own help explains them. */
export const addLeadingOptions = (program: Command): Command =>
  addAll(
    program,
    [...outputOptions(), ...cacheOptions()].map((option) => option.hideHelp()),
  );

/** `Examples:` below a command's help. Each is a command line and what it does. */
export function addExamples(command: Command, examples: readonly (readonly [string, string])[]): Command {
  const lines = examples.flatMap(([line, meaning]) => [`  # ${meaning}`, `  $ ${line}`, '']);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n').trimEnd()}`);
}
