/** `nixcache serve`. */
import { SERVE } from '../../../config/serve-settings.ts';
import { type CommandSpec, FROM_CACHE } from '../../command.ts';
export const SERVE_COMMAND: CommandSpec = {
  name: 'serve',
  summary: 'be a binary cache for Nix clients, in front of a cache',
  description:
    'Answers Nix clients from a cache and, for what it lacks, from upstream caches. The first line on stdout is the ' +
    'URL to be used as a substituter.',
  settings: [SERVE, FROM_CACHE],
  examples: [
    ['nixcache serve --from ghcr.io/owner/repo/nix-cache', 'be a substituter at http://127.0.0.1:37515'],
    ['nixcache serve --port 0 --no-upstream', 'on any free port, with nothing but the cache itself'],
    ['nix build --substituters http://127.0.0.1:37515 nixpkgs#hello', 'use it; the key must be trusted'],
  ],
  load: async () => (await import('./run.ts')).runServe,
};
