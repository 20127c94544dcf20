/** `nixcache copy`. */
import { COPY } from '../../../config/copy-settings.ts';
import { type CommandSpec, REGISTRY } from '../../command.ts';
export const COPY_COMMAND: CommandSpec = {
  name: 'copy',
  summary: 'copy a cache, or paths of one, into another',
  description:
    'Copies a cache, or some roots and paths of it, into another one, which keeps all that it has. The source is a ' +
    'cache, or a binary cache over HTTP or in a directory. Paths become roots of the copy. A copy that was stopped goes on where it stopped when it is run again.',
  arguments: [
    ['<src>', 'ghcr.io/owner/repo/nix-cache, oci:PATH, https://… or file://…'],
    ['<dst>', 'ghcr.io/owner/repo/nix-cache or oci:PATH'],
    ['[path...]', 'copy only these store paths and all that they refer to; - reads one a line from standard input'],
  ],
  settings: [COPY, REGISTRY],
  examples: [
    ['nixcache copy ghcr.io/owner/repo/nix-cache oci:/srv/mirror', 'mirror a cache into a directory'],
    [
      "nixcache copy ghcr.io/owner/repo/pr-1 ghcr.io/owner/repo/nix-cache --root 'packages.*'",
      'what these outputs are now, into another cache',
    ],
    ["nixcache copy oci:./cache registry.example.org/team/cache --root '*'", 'all roots and pins, and nothing unused'],
    ['nixcache copy https://cache.nixos.org oci:./cache /nix/store/…-hello', 'a closure from a binary cache'],
    ['nix path-info .#app | nixcache copy https://cache.nixos.org oci:./cache -', 'the same, from a pipe'],
    ['nixcache copy file:///srv/old-cache ghcr.io/owner/repo/nix-cache', 'all of what nix copy --to file://… wrote'],
  ],
  notes:
    'With two registries, --username, --password-stdin and --registry-kind are about the destination.\n\n' +
    'Of a binary cache over HTTP, what no known key signed is left out; of one in a directory only with --trusted-public-key.',
  load: async () => (await import('./run.ts')).runCopy,
};
