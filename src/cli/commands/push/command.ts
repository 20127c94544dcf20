/** `nixcache push`. */
import { PUSH, ROOT_NAME } from '../../../config/publish-settings.ts';
import { type CommandSpec, TO_CACHE } from '../../command.ts';
export const PUSH_COMMAND: CommandSpec = {
  name: 'push',
  summary: 'publish store paths with all they refer to',
  description:
    'Publishes store paths and their closure: signed, compressed, without what upstream caches and the cache itself ' +
    'have already. The paths become roots, which gc keeps for the retention.',
  arguments: [['<path...>', 'store paths, or links to them like ./result; - reads one a line from standard input']],
  settings: [ROOT_NAME, PUSH, TO_CACHE],
  examples: [
    ['nixcache push ./result', 'publish what nix build has just made'],
    [
      'nix path-info .#hello | nixcache push - --to ghcr.io/owner/repo/nix-cache',
      'the same, from a pipe, into a registry',
    ],
    ['nixcache push --dry-run ./result', 'see what would be published'],
  ],
  load: async (call) => {
    const { startWithClosure } = await import('./start.ts');
    const started = await startWithClosure(call);
    const { runPush } = await import('./run.ts');
    return (of) => runPush(of, started);
  },
};
