/** `nixcache info`: the surface; ../run/info.ts does the work. */
import type { Command } from 'commander';
import type { GcFlags } from '../../../config/gc-settings.ts';
import { addCacheOptions, addExamples } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';

export interface InfoFlags extends CommonFlags, Pick<GcFlags, 'retain' | 'keepLast'> {}

export function addInfoCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('info')
    .summary('show all about a path or a root, and why gc keeps it')
    .description(
      'Shows all about one store path in the cache: sizes, signatures, where its bytes lie, its closure, what needs it, ' +
        'and why gc keeps it. Or, for the name of a root or pin, what it stands for and stood for before.',
    )
    .argument('<path|name|hash>', 'store path, its hash or name, the beginning of either, or the name of a root or pin')
    .option('--retain <duration>', 'the retention that gc is run with, like 30d (default: 30d)')
    .option('--keep-last <n>', 'the --keep-last that gc is run with')
    .action(async (what: string, _flags: unknown, self: Command) => {
      const { runInfo } = await import('./run.ts');
      await runInfo(what, flagsOf<InfoFlags>(self), context);
    });
  addExamples(addCacheOptions(command, 'from'), [
    ['nixcache info hello', 'all about the one path whose name begins with hello'],
    ['nixcache info packages.x86_64-linux.default', 'what a root is now, and was before'],
    ['nixcache info --retain 7d /nix/store/…-openssl-3.0.14', 'whether gc --retain 7d would keep it, and why'],
  ]);
}
