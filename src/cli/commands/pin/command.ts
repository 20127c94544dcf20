/** `nixcache pin`. */

import { PIN } from '../../../config/pin-settings.ts';
import { type CommandSpec, TO_CACHE } from '../../command.ts';
export const PIN_COMMAND: CommandSpec = {
  name: 'pin',
  summary: 'keep a path, whatever gc drops',
  description:
    'Gives a store path in the cache a name under which gc keeps it, with all it refers to, until the name is removed ' +
    'or given to another path. What a name stood for before stays on record.',
  arguments: [
    ['[name]', 'name of the pin'],
    ['[path]', 'store path in the cache, a link to one, its hash or name, or the name of a root'],
  ],
  settings: [PIN, TO_CACHE],
  examples: [
    ['nixcache pin v1.0 ./result', 'keep the build that ./result links to, which was published'],
    ['nixcache pin stable packages.x86_64-linux.default', 'keep what a root stands for now'],
    ['nixcache pin --history stable', 'see what it stood for, and since when'],
    ['nixcache pin --remove stable', 'let gc drop it again'],
  ],
  load: async () => (await import('./run.ts')).runPin,
};
