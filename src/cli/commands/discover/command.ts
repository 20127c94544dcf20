/** `nixcache discover`. */
import { OUTPUT } from '../../../config/output.ts';
import { DISCOVER, EVALUATION, MATRIX, NIX_FILE } from '../../../config/publish-settings.ts';
import { type CommandSpec, GLOBS } from '../../command.ts';
export const DISCOVER_COMMAND: CommandSpec = {
  name: 'discover',
  summary: 'list what a flake offers to publish',
  description:
    'Evaluates a flake and lists its outputs with the store paths they will have. Outputs that fail to evaluate are ' +
    'listed apart and hide no others. GitHub fails a job whose matrix is empty: --matrix warns of that, and a job that may ' +
    'get one needs an if, such as if: fromJSON(needs.discover.outputs.matrix).include[0].',
  arguments: [['[flake]', 'flake reference (default: . if it has a flake.nix, else ./config)']],
  settings: [DISCOVER, NIX_FILE, EVALUATION, MATRIX, OUTPUT],
  examples: [
    ['nixcache discover', 'what this flake would publish for this system'],
    ['nixcache discover --kinds packages,checks --system all github:owner/repo', 'packages and checks of all systems'],
    ['nixcache discover --file release.nix --attr tests', 'of a Nix expression without a flake, as nix-build'],
    ['nixcache discover --matrix', '{"include":[…]}; in GitHub Actions the output `matrix` of the step as well'],
  ],
  notes: GLOBS,
  load: async () => (await import('./run.ts')).runDiscover,
};
