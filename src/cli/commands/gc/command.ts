/** `nixcache gc`: the surface; `run` does the work. */
import type { Command } from 'commander';
import type { GcFlags } from '../../../config/gc-settings.ts';
import { addCacheOptions, addExamples } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';

export type RunGc = (flags: GcFlags & CommonFlags, context: CommandContext) => Promise<void>;

/** `loadRun` imports the work only when the command is chosen. */
export function addGcCommand(program: Command, context: CommandContext, loadRun: () => Promise<RunGc>): void {
  const command = program
    .command('gc')
    .summary('drop what no root needs any more')
    .description(
      'Drops what no root needs any more, and frees its storage. Kept are pins, the newest publish of each source and ' +
        'system, what was published within the retention, and all that these refer to. Safe while others publish.',
    )
    .option('--retain <duration>', 'how long publishes are kept, like 30d, 12h or 2w (default: 30d)')
    .option('--keep-last <n>', 'keep the last publishes of each root, however old')
    .option('--grace <duration>', 'how long replaced objects stay for running publishers and readers (default: 24h)')
    .option('--dry-run', 'print what would be dropped, and drop nothing')
    .action(async (_flags: unknown, self: Command) => {
      const run = await loadRun();
      await run(flagsOf<GcFlags>(self), context);
    });
  addExamples(addCacheOptions(command, 'to'), [
    ['nixcache gc --retain 30d --dry-run', 'see what would go'],
    ['nixcache gc --retain 30d', 'drop what was last published more than 30 days ago'],
    ['nixcache gc --retain 2w --keep-last 3', 'the same after two weeks, but keep three publishes of everything'],
  ]);
}
