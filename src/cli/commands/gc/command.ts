/** `nixcache gc`. */
import { GC } from '../../../config/gc-settings.ts';
import { type CommandSpec, TO_CACHE } from '../../command.ts';
export const GC_COMMAND: CommandSpec = {
  name: 'gc',
  summary: 'drop what no root needs any more',
  description:
    'Drops what no root needs any more, and frees its storage. Kept are pins, the newest publish of each source and ' +
    'system, what was published within the retention, and all that these refer to. Safe while others publish.',
  settings: [GC, TO_CACHE],
  examples: [
    ['nixcache gc --retain 30d --dry-run', 'see what would go'],
    ['nixcache gc --retain 30d', 'drop what was last published more than 30 days ago'],
    ['nixcache gc --retain 2w --keep-last 3', 'the same after two weeks, but keep three publishes of everything'],
  ],
  load: async () => (await import('./run.ts')).runGc,
};
