/** `nixcache list`: the surface; ../run/list.ts does the work. */
import { type Command, Option } from 'commander';
import { addCacheOptions, addExamples } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';

export interface ListFlags extends CommonFlags {
  readonly roots?: boolean | undefined;
  readonly pins?: boolean | undefined;
  readonly entries?: boolean | undefined;
}

const JSON_HELP = `
JSON:
  With --json, one document; times are in ISO 8601, sizes in bytes.
  list           {cache, storeDir, entries, narBytes, fileBytes, segments, checkpoints, newestPublish,
                 signedBy: [{keyName, entries}], unsigned, publicKeys, roots, pins}
  roots          [{name, system, source, revision, path, published, records,
                 closure: {paths, narBytes, fileBytes, missing}}]
  pins           [{name, path, pinned}]
  list --roots   {cache, roots}, list --pins   {cache, pins}
  list --entries one document a line: {path, narBytes, fileBytes, asserted, signedBy}`;

export function addListCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('list')
    .summary('show what is in the cache')
    .description(
      'Shows what is in the cache: how much, signed by whom, and the newest publish of each root. A glob picks roots, ' +
        'pins and entries by their name, or by their store path.',
    )
    .argument('[glob]', "what to show, like 'hello*' or 'packages.*'")
    .addOption(new Option('--roots', 'only the roots').conflicts(['pins', 'entries']))
    .addOption(new Option('--pins', 'only the pins').conflicts(['roots', 'entries']))
    .addOption(new Option('--entries', 'every store path with its size').conflicts(['roots', 'pins']))
    .action(async (glob: string | undefined, _flags: unknown, self: Command) => {
      const { runList } = await import('./run.ts');
      await runList(glob, flagsOf<ListFlags>(self), context);
    });
  addExamples(addCacheOptions(command, 'from'), [
    ['nixcache list', 'see how much there is, and which outputs'],
    ["nixcache list --entries '*-source' --json", 'every path called …-source, one JSON document a line'],
  ]).addHelpText('after', JSON_HELP);
}
