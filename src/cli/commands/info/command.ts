/** `nixcache info`. */
import { RETENTION } from '../../../config/gc-settings.ts';
import { type CommandSpec, FROM_CACHE } from '../../command.ts';
export const INFO_COMMAND: CommandSpec = {
  name: 'info',
  summary: 'show all about a path or a root, and why gc keeps it',
  description:
    'Shows all about one store path in the cache: sizes, signatures, where its bytes lie, its closure, what needs it, ' +
    'and why gc keeps it. Or, for the name of a root or pin, what it stands for and stood for before.',
  arguments: [
    ['<path|name|hash>', 'store path, its hash or name, the beginning of either, or the name of a root or pin'],
  ],
  settings: [RETENTION, FROM_CACHE],
  examples: [
    ['nixcache info hello', 'all about the one path whose name begins with hello'],
    ['nixcache info packages.x86_64-linux.default', 'what a root is now, and was before'],
    ['nixcache info --retain 7d /nix/store/…-openssl-3.0.14', 'whether gc --retain 7d would keep it, and why'],
  ],
  load: async () => (await import('./run.ts')).runInfo,
};
