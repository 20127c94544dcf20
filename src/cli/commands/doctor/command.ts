/** `nixcache doctor`. */

import { DOCTOR } from '../../../config/doctor-settings.ts';
import { type CommandSpec, FROM_CACHE } from '../../command.ts';

const JSON_HELP = `JSON:
  {cache, problems, warnings, findings: [{check, verdict, message, fix}]}
  verdict is ok, warning, problem or skipped. The exit code is 4 when there is a problem.`;

export const DOCTOR_COMMAND: CommandSpec = {
  name: 'doctor',
  summary: 'find out what is wrong, and how to mend it',
  description:
    'Looks at every part between the Nix of this machine and the cache: the registry and what we may do there, the ' +
    'index, keys and signatures, other caches, the proxy, and what Nix trusts. Changes nothing. The exit code is 4 ' +
    'when there is a problem.',
  settings: [DOCTOR, FROM_CACHE],
  examples: [
    ['nixcache doctor', 'look at everything'],
    [
      'nixcache doctor --from ghcr.io/owner/repo/nix-cache --key-file ~/.config/nixcache/keys/cache.example.org-1.secret',
      'before the first publish',
    ],
  ],
  notes: JSON_HELP,
  load: async () => (await import('./run.ts')).runDoctor,
};
