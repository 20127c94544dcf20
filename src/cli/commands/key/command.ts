/** `nixcache key generate` and `nixcache key public`. */

import { GENERATE } from '../../../config/key-settings.ts';
import { OUTPUT } from '../../../config/output.ts';
import type { CommandSpec } from '../../command.ts';

export const GENERATE_COMMAND: CommandSpec = {
  name: 'generate',
  summary: 'make a key pair',
  description:
    'Makes an Ed25519 key pair: NAME.secret (mode 0600) and NAME.public (mode 0644), in ~/.config/nixcache/keys unless ' +
    '--out-dir says otherwise. Neither is ever overwritten. Keep secret keys out of the directories of flakes: Nix copies ' +
    'those to its store, for everyone to read. ' +
    'By custom NAME is the host name of the cache and a number, so that a key can be followed by another.',
  arguments: [['<name>', 'name of the key, like cache.example.org-1']],
  settings: [GENERATE, OUTPUT],
  examples: [
    [
      'nixcache key generate cache.example.org-1',
      'make ~/.config/nixcache/keys/cache.example.org-1.secret and .public',
    ],
    [
      'gh secret set NIX_SIGNING_KEY < ~/.config/nixcache/keys/cache.example.org-1.secret',
      'let GitHub workflows sign with it',
    ],
  ],
  load: async () => (await import('./run.ts')).generateKeyFiles,
};

export const PUBLIC_COMMAND: CommandSpec = {
  name: 'public',
  summary: 'print the public key of a secret key',
  description: 'Prints the public key that belongs to a secret key: what clients put into trusted-public-keys.',
  arguments: [['<file>', 'secret key file, or - for standard input']],
  settings: [OUTPUT],
  examples: [
    ['nixcache key public ~/.config/nixcache/keys/cache.example.org-1.secret', 'print cache.example.org-1:…'],
    ['nixcache key public - <<< "$NIX_SIGNING_KEY"', 'the same for a key in a variable'],
  ],
  load: async () => (await import('./run.ts')).showPublicKey,
};
