/** `nixcache verify`. */
import { VERIFY } from '../../../config/verify-settings.ts';
import { type CommandSpec, FROM_CACHE } from '../../command.ts';
export const VERIFY_COMMAND: CommandSpec = {
  name: 'verify',
  summary: 'check that a cache is whole, and heal it',
  description:
    'Checks that index, manifests, blobs, signatures and closures of a cache belong together, and says what helps where ' +
    'they do not. Exits with 4 when it found damage, or when --repair could not heal all of it.',
  settings: [VERIFY, FROM_CACHE],
  examples: [
    ['nixcache verify', 'check index, manifests, blobs, signatures and closures'],
    ['nixcache verify --contents --from oci:./cache', 'read every NAR as well'],
    ['nixcache verify --repair --dry-run', 'see what a repair would push, fetch and drop'],
    ['nixcache verify --repair --key-file key', 'heal the cache, and sign what is pushed'],
  ],
  load: async () => (await import('./run.ts')).runVerify,
};
