import { basename } from 'node:path';
import { NixcacheError } from '../errors.ts';
import { type AttrPathFilter, AttrPathMatcher, formatAttrPath, type UnmatchedGlob } from '../nix/attr-path.ts';
import { resolveFile } from './file-source.ts';
import { withFlakeConfig } from './flake-config.ts';
import { type EvaluationFlags, FlakeEvaluator } from './flake-evaluator.ts';
import { DEFAULT_KINDS, type OutputKind, SCOPES, type Scope } from './flake-expression.ts';
import type { DiscoverEvent, DiscoveryFailure, FlakeOutput } from './flake-output.ts';
import { type KeysInUse, refuseSecretFiles } from './flake-secrets.ts';
import { type FlakeSource, resolveFlake } from './flake-source.ts';
import { NixCommand } from './nix-command.ts';
import { Search } from './search.ts';

export interface Discovery {
  readonly source: FlakeSource;
  /** Sorted by attribute path. */
  readonly outputs: readonly FlakeOutput[];
  readonly failures: readonly DiscoveryFailure[];
  /** What builds are to be run with: the command given, with what the flake's own settings add. */
  readonly command: NixCommand;
}

export interface DiscoverOptions extends AttrPathFilter, EvaluationFlags {
  readonly command?: NixCommand;
  /** Default: the machine's. `'all'` takes every system the flake has. */
  readonly systems?: readonly string[] | 'all';
  readonly kinds?: readonly OutputKind[];
  /** Attribute paths in a Nix expression without a flake; none: all of it. */
  readonly attrs?: readonly (readonly string[])[] | undefined;
  /** What must not lie in the flake's source, which Nix copies to its store, beside any other secret key. */
  readonly keysInUse?: KeysInUse;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: (event: DiscoverEvent) => void;
}

/**
 * @throws {NixcacheError} ERR_USAGE, ERR_NIX when the flake as a whole cannot be read or evaluated, or holds a secret;
 *   ERR_USAGE when none of `only` selects anything
 */
export async function discover(
  from: string | { readonly file: string },
  options: DiscoverOptions = {},
): Promise<Discovery> {
  const { kinds = DEFAULT_KINDS, signal, onEvent } = options;
  const given = options.command ?? new NixCommand();
  const filter = new AttrPathMatcher(options);
  for (const ref of [
    ...(typeof from === 'string' ? [from] : []),
    ...(options.overrideInputs ?? []).map(([, input]) => input),
  ]) {
    await refuseSecretFiles(given, ref, { ...{ files: [], keys: [] }, ...options.keysInUse, signal });
  }
  const [source, systems] = await Promise.all([
    typeof from === 'string' ? resolveFlake(given, from, { signal }) : resolveFile(given, from.file, { signal }),
    options.systems ?? given.currentSystem({ signal }).then((system) => [system]),
  ]);
  onEvent?.({ type: 'flake', source });
  const onIgnored = (message: string): void => onEvent?.({ type: 'config-ignored', message });
  const isFlake = source.file === undefined;
  const command = isFlake ? await withFlakeConfig(given, source, { ...options, onIgnored }) : given;
  const labelled = (path: readonly string[]): readonly string[] => (path.length === 0 ? [nameOfFile(source)] : path);
  const evaluator = new FlakeEvaluator(command, source, systems === 'all' ? undefined : systems, signal, options);
  const search = new Search(evaluator, onEvent, labelled);
  await evaluator.use(async () => {
    const scopes = isFlake
      ? SCOPES.filter(({ kind }) => (kinds as readonly string[]).includes(kind))
      : scopesOf(options);
    const isFiltered = (options.only?.length ?? 0) + (options.exclude?.length ?? 0) > 0;
    const rest = isFiltered ? await search.findTargets(scopes) : await search.evaluateAll(scopes);
    await search.evaluate(rest.filter(({ path }) => filter.isWanted(labelled(path))));
    await search.explain();
  });
  const isAsked = ({ system }: FlakeOutput): boolean => systems === 'all' || systems.includes(system);
  const failures = search.failures.filter(({ path }) => filter.isWanted(labelled(path)));
  const isInVain = search.outputs.length + failures.length === 0;
  for (const unmatched of filter.unmatched) {
    const message = describeUnmatched(unmatched, source.file ?? 'the flake', systems);
    if (isInVain && unmatched.list === 'only') throw new NixcacheError('ERR_USAGE', message);
    if (!namesOtherSystem(unmatched, systems)) onEvent?.({ type: 'unmatched', message });
  }
  return {
    ...{ source, command },
    outputs: withoutAliases(search.outputs.filter(isAsked)).sort(byAttrPath),
    failures: failures.map(({ path, error }) => ({ attrPath: formatAttrPath(labelled(path)), error })).sort(byAttrPath),
  };
}

const scopesOf = ({ attrs = [] }: DiscoverOptions): readonly Scope[] =>
  (attrs.length === 0 ? [[]] : attrs).map((path) => ({ kind: 'file', path, shape: 'file' }));

/** What the one output is called that a file has: `release` of release.nix, `default` of a directory. */
const nameOfFile = ({ file = '' }: FlakeSource): string => (file.endsWith('.nix') ? basename(file, '.nix') : 'default');

function describeUnmatched(
  { list, glob, meant }: UnmatchedGlob,
  source: string,
  systems: readonly string[] | 'all',
): string {
  const place = systems === 'all' ? source : `${source} for ${systems.join(', ')}`;
  const advice = meant === undefined ? 'nixcache discover lists what there is' : `did you mean '${meant}'?`;
  return `--${list} '${glob}' matches no output of ${place}; ${advice}`;
}

/** Whether a glob is about a system that was not asked for: one list of exclusions serves the jobs of all systems. */
function namesOtherSystem({ glob }: UnmatchedGlob, systems: readonly string[] | 'all'): boolean {
  const [, named] = /^[A-Za-z]+\.([a-z0-9_]+-[a-z0-9_]+)(?:\.|$)/.exec(glob) ?? [];
  return named !== undefined && systems !== 'all' && !systems.includes(named);
}

/** Drops `defaultPackage` and the like where the modern attribute has the same derivation. */
function withoutAliases(outputs: readonly FlakeOutput[]): FlakeOutput[] {
  const isAlias = ({ attrPath }: FlakeOutput): boolean => /^default(?:Package|App)\.|^devShell\./.test(attrPath);
  const modern = new Set(outputs.filter((output) => !isAlias(output)).map(({ drvPath }) => drvPath));
  return outputs.filter((output) => !isAlias(output) || !modern.has(output.drvPath));
}

function byAttrPath(a: { readonly attrPath: string }, b: { readonly attrPath: string }): number {
  return a.attrPath < b.attrPath ? -1 : a.attrPath > b.attrPath ? 1 : 0;
}
