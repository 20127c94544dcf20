/** `nixcache pin`: the surface; ../run/pin.ts does the work. */
import { type Command, Option } from 'commander';
import { addCacheOptions, addExamples } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';

export interface PinFlags extends CommonFlags {
  readonly list?: boolean | undefined;
  readonly remove?: string | undefined;
  readonly history?: string | undefined;
}

export function addPinCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('pin')
    .summary('keep a path, whatever gc drops')
    .description(
      'Gives a store path in the cache a name under which gc keeps it, with all it refers to, until the name is removed ' +
        'or given to another path. What a name stood for before stays on record.',
    )
    .argument('[name]', 'name of the pin')
    .argument('[path]', 'store path in the cache, a link to one, its hash or name, or the name of a root')
    .addOption(new Option('--list', 'show all pins').conflicts(['remove', 'history']))
    .addOption(new Option('--remove <name>', 'remove a pin').conflicts(['list', 'history']))
    .addOption(new Option('--history <name>', 'show what a pin stood for').conflicts(['list', 'remove']))
    .action(async (name: string | undefined, path: string | undefined, _flags: unknown, self: Command) => {
      const { runPin } = await import('./run.ts');
      await runPin({ name, path }, flagsOf<PinFlags>(self), context);
    });
  addExamples(addCacheOptions(command, 'to'), [
    ['nixcache pin v1.0 ./result', 'keep the build that ./result links to, which was published'],
    ['nixcache pin stable packages.x86_64-linux.default', 'keep what a root stands for now'],
    ['nixcache pin --history stable', 'see what it stood for, and since when'],
    ['nixcache pin --remove stable', 'let gc drop it again'],
  ]);
}
