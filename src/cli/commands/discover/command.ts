/** `nixcache discover`: the surface; ../run/discover.ts does the work. */
import { type Command, Option } from 'commander';
import type { DiscoverFlags } from '../../../config/publish-settings.ts';
import { addExamples, addOutputOptions, collect } from '../../common-options.ts';
import { type CommandContext, flagsOf } from '../../context.ts';

export interface DiscoverCommandFlags extends DiscoverFlags {
  readonly matrix?: boolean | undefined;
}

export function addDiscoverCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('discover')
    .summary('list what a flake offers to publish')
    .description(
      'Evaluates a flake and lists its outputs with the store paths they will have. Outputs that fail to evaluate are ' +
        'listed apart and hide no others.',
    )
    .argument('[flake]', 'flake reference (default: . if it has a flake.nix, else ./config)')
    .action(async (flake: string | undefined, _flags: unknown, self: Command) => {
      const { runDiscover } = await import('./run.ts');
      await runDiscover(flake, flagsOf<DiscoverCommandFlags>(self), context);
    });
  addFlakeOptions(command).option(
    '--matrix',
    'print a GitHub Actions matrix: one entry per system, with a runner for it',
  );
  addExamples(addOutputOptions(command), [
    ['nixcache discover', 'what this flake would publish for this system'],
    ['nixcache discover --kinds packages,checks --system all github:owner/repo', 'packages and checks of all systems'],
    ['nixcache discover --matrix', '{"include":[…]}; in GitHub Actions the output `matrix` of the step as well'],
  ]);
}

/** Options that choose outputs of a flake. */
export function addFlakeOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--kinds <kinds>',
        'kinds of outputs, with commas: packages, nixosConfigurations, devShells (these by default), checks, ' +
          'homeConfigurations, darwinConfigurations, formatter, apps, hydraJobs, all',
      ).argParser(collect),
    )
    .addOption(
      new Option('--system <system>', 'system to look at instead of this one; repeatable; all for every one').argParser(
        collect,
      ),
    )
    .addOption(new Option('--only <glob>', 'only attribute paths like this; repeatable').argParser(collect))
    .addOption(new Option('--exclude <glob>', 'no attribute paths like this; repeatable').argParser(collect));
}
