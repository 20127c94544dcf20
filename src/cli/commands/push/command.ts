/** `nixcache push`: the surface; ../run/push.ts does the work. */
import type { Command } from 'commander';
import type { PushFlags } from '../../../config/publish-settings.ts';
import { addCacheOptions, addExamples } from '../../common-options.ts';
import { type CommandContext, flagsOf } from '../../context.ts';
import { addPushOptions } from '../publish/options.ts';

export function addPushCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('push')
    .summary('publish store paths with all they refer to')
    .description(
      'Publishes store paths and their closure: signed, compressed, without what upstream caches and the cache itself ' +
        'have already. The paths become roots, which gc keeps for the retention.',
    )
    .argument('<path...>', 'store paths, or links to them like ./result; - reads one a line from standard input')
    .action(async (paths: readonly string[], _flags: unknown, self: Command) => {
      const { runPush } = await import('./run.ts');
      await runPush(paths, flagsOf<PushFlags>(self), context);
    })
    .option('--name <name>', 'name of the root that the paths become (default: the name of each path)');
  addPushOptions(command);
  addExamples(addCacheOptions(command, 'to'), [
    ['nixcache push ./result', 'publish what nix build has just made'],
    [
      'nix path-info .#hello | nixcache push - --to ghcr.io/owner/repo/nix-cache',
      'the same, from a pipe, into a registry',
    ],
    ['nixcache push --dry-run ./result', 'see what would be published'],
  ]);
}
