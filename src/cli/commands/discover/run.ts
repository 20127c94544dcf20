/** Lists the outputs of a flake. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { discoverSettings } from '../../../config/publish-settings.ts';
import { keyFilesOf, resolveSigningKeys, type SigningKeySource } from '../../../config/signing-keys.ts';
import { withOutput } from '../../../nix/attr-path.ts';
import { MAX_SECRET_KEY_BYTES, parseSecretKey } from '../../../nix/signature.ts';
import { type Discovery, discover } from '../../../nix-store/discover.ts';
import type { DiscoverEvent } from '../../../nix-store/flake-output.ts';
import type { KeysInUse } from '../../../nix-store/flake-secrets.ts';
import { planMatrix } from '../../../nix-store/matrix.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import { formatCount } from '../../../quantity.ts';
import { readRegular } from '../../../regular-file.ts';
import type { Call } from '../../command.ts';
import { sourcesOf } from '../../context.ts';
import { EXIT } from '../../exit-codes.ts';
import { outputJson } from '../../json.ts';
import type { Output } from '../../ui/output.ts';
import { formatTable } from '../../ui/table.ts';

export const hasFlake = (directory: string): boolean => existsSync(join(directory, 'flake.nix'));

export async function runDiscover({ args, flags, context }: Call): Promise<void> {
  const { output, signal, cwd } = context;
  const sources = await sourcesOf(flags, context);
  const settings = discoverSettings(args[0], sources, hasFlake);
  const { kinds, only, exclude, impure, overrideInputs, nixOptions, acceptFlakeConfig } = settings;
  // A matrix has an entry for each system, unless some were asked for.
  const systems = settings.systems.length > 0 ? settings.systems : settings.matrix ? 'all' : undefined;
  const discovery = await discover(settings.source, {
    attrs: settings.attrs,
    ...{ kinds, only, exclude, impure, overrideInputs, signal },
    command: new NixCommand({ cwd, settings: nixOptions, acceptFlakeConfig }),
    keysInUse: await keysInUse(resolveSigningKeys(sources)),
    ...(systems === undefined ? {} : { systems }),
    onEvent: (event) => tell(event, output),
  });
  const { outputs, failures } = discovery;
  if (settings.matrix) {
    const plan = planMatrix(discovery, settings.runners);
    for (const system of plan.withoutRunner) {
      output.warn(
        `${system} has no job: GitHub has no runner for it; name the labels of yours: --runner ${system}=self-hosted,${system}`,
      );
    }
    if (plan.matrix.include.length === 0) {
      output.warn(
        "the matrix is empty, and GitHub fails a job with an empty one: give that job an 'if' that looks at it",
      );
    }
    output.jsonLine(plan.matrix);
    await output.stepOutputs({ matrix: JSON.stringify(plan.matrix) });
    return;
  }
  output.result({ flake: discovery.source, outputs: outputs.map(outputJson), failures }, () =>
    formatDiscovery(discovery, output.tableWidth),
  );
  output.info(
    `${formatCount(outputs.length, 'output')}${failures.length > 0 ? `, ${failures.length} failed to evaluate` : ''}`,
  );
  if (outputs.length === 0 && failures.length > 0) context.exitCode = EXIT.failed;
}

/** What publish would sign with. What is wrong with it publish says; and a pipe is for it to read. */
async function keysInUse(named: readonly SigningKeySource[]): Promise<KeysInUse> {
  const textOf = async (source: SigningKeySource): Promise<string> =>
    'text' in source
      ? source.text
      : (await readRegular(source.file, { links: 'followed', maxBytes: MAX_SECRET_KEY_BYTES })).toString('utf8');
  const keys = await Promise.all(
    named.map(async (source) => parseSecretKey(await textOf(source))).map((key) => key.catch(() => [])),
  );
  return { files: keyFilesOf(named), keys: keys.flat() };
}

function tell(event: DiscoverEvent, output: Output): void {
  if (event.type === 'flake') output.detail(`flake: ${event.source.lockedUrl}`);
  if (event.type === 'evaluating') output.detail(`evaluating ${event.outputs ?? 'all'} outputs`);
  if (event.type === 'unmatched' || event.type === 'config-ignored') output.warn(event.message);
  if (event.type === 'failed') output.warn(`${event.failure.attrPath} does not evaluate: ${event.failure.error}`);
}

function formatDiscovery({ outputs }: Discovery, width: number | undefined): string {
  if (outputs.length === 0) return '';
  return formatTable(
    ['OUTPUT', 'SYSTEM', 'STORE PATH'],
    outputs.flatMap(({ attrPath, system, outputs: paths }) =>
      Object.entries(paths).map(([name, path]) => [
        withOutput(attrPath, name),
        system,
        path ?? '(known once it is built)',
      ]),
    ),
    { width },
  );
}
