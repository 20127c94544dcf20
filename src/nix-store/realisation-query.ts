/** What the local store knows of outputs whose paths only a build tells: `nix realisation info`. */
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import type { CallOptions } from '../call-options.ts';
import { parseRealisations, type Realisation } from '../nix/realisation.ts';
import type { StorePath } from '../nix/store-path.ts';
import { atLeast, type NixCommand } from './nix-command.ts';

/**
 * The realisations of the outputs of `drvs`, as far as they are built; all of `drvs` have floating outputs, for of others
 * some versions of Nix say nothing and others crash. A process for each, since one that is not built fails them all.
 *
 * @throws {NixcacheError} ERR_INTERRUPTED
 */
export async function readRealisations(
  command: NixCommand,
  drvs: readonly StorePath[],
  options: CallOptions,
): Promise<ReadonlyMap<StorePath, readonly Realisation[]>> {
  if (drvs.length === 0) return new Map();
  // Up to 2.12 a bare derivation stands for its outputs.
  const suffix = atLeast(await command.version(options), 2, 13) ? '^*' : '';
  const limit = pLimit(availableParallelism());
  const read = async (drv: StorePath): Promise<readonly [StorePath, readonly Realisation[]]> => {
    const args = ['realisation', 'info', '--json', '--extra-experimental-features', 'ca-derivations'];
    const { exitCode, stdout } = await command.run('nix', [...args, '--offline', `${drv}${suffix}`], options);
    return [drv, (exitCode === 0 && parseRealisations(stdout)) || []];
  };
  return new Map(await Promise.all([...new Set(drvs)].map((drv) => limit(read, drv))));
}
