/** `nixcache publish`: the surface; `run` does the work. */
import type { Command } from 'commander';
import type { PublishFlags } from '../../../config/publish-settings.ts';
import { addCacheOptions, addExamples } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';
import { addFlakeOptions } from '../discover/command.ts';
import { addPushOptions } from './options.ts';

export type RunPublish = (
  flake: string | undefined,
  flags: PublishFlags & CommonFlags,
  context: CommandContext,
) => Promise<void>;

/** `loadRun` imports the work only when the command is chosen. */
export function addPublishCommand(program: Command, context: CommandContext, loadRun: () => Promise<RunPublish>): void {
  const command = program
    .command('publish')
    .summary('build a flake and publish what it gives')
    .description(
      'Builds the outputs of a flake and publishes their closure: signed, compressed, without what upstream caches and ' +
        'the cache itself have already. Any number of publishers may run at once.',
    )
    .argument('[flake]', 'flake reference (default: . if it has a flake.nix, else ./config)')
    .action(async (flake: string | undefined, _flags: unknown, self: Command) => {
      const run = await loadRun();
      await run(flake, flagsOf<PublishFlags>(self), context);
    });
  addFlakeOptions(command).option('--no-build', 'publish what is in the store already, and build nothing');
  addPushOptions(command);
  addExamples(addCacheOptions(command, 'to'), [
    ['nixcache publish', 'build this flake and publish it; in GitHub Actions to ghcr.io/OWNER/REPO/nix-cache'],
    ['nixcache publish --to oci:./cache --key-file cache.example.org-1.secret', 'the same into a directory, signed'],
    ["nixcache publish --only 'packages.*.hello' --dry-run", 'see what publishing one package would take'],
    ['nixcache publish --kinds packages,checks --no-upstream github:owner/repo', 'a cache that needs no other'],
  ]).addHelpText('after', '\nExit code 3: published, but some outputs failed to evaluate or build.');
}
