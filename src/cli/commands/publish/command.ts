/** `nixcache publish`. */
import { BUILD, DISCOVER, EVALUATION, NIX_FILE, PUSH } from '../../../config/publish-settings.ts';
import { type CommandSpec, GLOBS, TO_CACHE } from '../../command.ts';
export const PUBLISH_COMMAND: CommandSpec = {
  name: 'publish',
  summary: 'build a flake and publish what it gives',
  description:
    'Builds the outputs of a flake and publishes their closure: signed, compressed, without what upstream caches and ' +
    'the cache itself have already. Any number of publishers may run at once.',
  arguments: [['[flake]', 'flake reference (default: . if it has a flake.nix, else ./config)']],
  settings: [DISCOVER, NIX_FILE, EVALUATION, BUILD, PUSH, TO_CACHE],
  examples: [
    ['nixcache publish', 'build this flake and publish it; in GitHub Actions to ghcr.io/OWNER/REPO/nix-cache'],
    [
      'nixcache publish --to oci:./cache --key-file ~/.config/nixcache/keys/cache.example.org-1.secret',
      'the same into a directory, signed',
    ],
    ['nixcache publish --file release.nix', 'what nix-build builds of a Nix expression without a flake'],
    ["nixcache publish --only 'packages.*.hello' --dry-run", 'see what publishing one package would take'],
    ['nixcache publish --kinds packages,checks --no-upstream github:owner/repo', 'a cache that needs no other'],
  ],
  notes: `${GLOBS}\n\nExit codes:\n  3 when some outputs failed to evaluate or build, and the others are published; 5 when not all that was built, or none of it, could be published: what is missing is listed; 130 when it was interrupted, after committing what was ready to be published; what was built by then stays in the local store.`,
  load: async () => (await import('./run.ts')).runPublish,
};
