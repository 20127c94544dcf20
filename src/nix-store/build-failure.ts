/** Why targets of a build are not there: their own fault, or that of something they need. */
import type { PathInfo } from '../nix/path-info.ts';
import { baseNameOf, type StorePath } from '../nix/store-path.ts';
import type { BuildLog } from './build-log.ts';

/** A derivation and what it makes; a FlakeOutput is one. */
export interface BuildTarget {
  readonly drvPath: StorePath;
  /** By output name. */
  readonly outputs: Readonly<Record<string, StorePath>>;
  /** Names of further outputs, whose paths only a build tells. */
  readonly floating?: readonly string[] | undefined;
}

export interface BuildFailure {
  readonly drvPath: StorePath;
  /**
   * `failed`: its own builder failed. `dependency`: `culprit`, which it needs, failed. `unbuildable`: it was not
   * started, for instance because it is for another system.
   */
  readonly reason: 'failed' | 'dependency' | 'unbuildable';
  /** One line. */
  readonly error: string;
  /** The derivation whose builder failed, where that is another one. */
  readonly culprit?: StorePath;
  /** The last lines that the failing builder wrote. */
  readonly logTail: readonly string[];
}

/**
 * The failures among `targets`, none of which is valid. What the log has nothing to say about was not attempted, and
 * is left out. `closure` holds the derivations of the targets with all that they need.
 */
export function explainFailures(
  targets: readonly BuildTarget[],
  closure: readonly PathInfo[],
  log: BuildLog,
): readonly BuildFailure[] {
  const started = new Set(log.started);
  const errors = errorsByName(log.errors);
  const isGuilty = (name: string): boolean => errors.has(name);
  const culprits = culpritsBelow(closure, isGuilty);
  return targets.flatMap(({ drvPath }): BuildFailure[] => {
    const culprit = started.has(drvPath) ? undefined : culprits.get(baseNameOf(drvPath));
    if (culprit === undefined && !isGuilty(baseNameOf(drvPath))) return [];
    const failed = culprit ?? drvPath;
    const error = errors.get(baseNameOf(failed)) ?? `the build of ${failed} failed`;
    const logTail = log.tailOf(failed);
    if (culprit !== undefined) return [{ drvPath, reason: 'dependency', error, culprit, logTail }];
    return [{ drvPath, reason: started.has(drvPath) ? 'failed' : 'unbuildable', error, logTail }];
  });
}

/**
 * The derivation that an error of Nix's says cannot be built or was not; undefined where it tells of others that need such a
 * one: 2.8's `builder for '…' failed with exit code 1`, 2.34's `Cannot build '…'.`, a hash mismatch, a timeout.
 */
export function failedBuild(text: string): string | undefined {
  if (/\b\d+ dependenc(?:y|ies)\b/.test(text) || text.startsWith("build of '")) return undefined;
  return /\/[^\s'^]+\.drv(?=[\s'^:]|$)/.exec(text)?.[0];
}

/**
 * The first error that names each derivation, by base name. Nix names one when that, or something it needs, failed; one
 * that was started and is not named was cut off by somebody else's failure.
 */
function errorsByName(errors: readonly string[]): ReadonlyMap<string, string> {
  const byName = new Map<string, string>();
  for (const text of errors) {
    for (const [name] of text.matchAll(/[0-9a-z]{32}-[0-9A-Za-z+\-._?=]+\.drv/g)) {
      if (!byName.has(name)) byName.set(name, text);
    }
  }
  return byName;
}

/** Of each derivation, by base name, a guilty one below it that has no guilty one below itself. */
function culpritsBelow(
  closure: readonly PathInfo[],
  isGuilty: (name: string) => boolean,
): ReadonlyMap<string, StorePath | undefined> {
  const infos = new Map<string, PathInfo>(closure.map((info) => [baseNameOf(info.path), info]));
  const culprits = new Map<string, StorePath | undefined>();
  const open: { readonly name: string; readonly references: readonly string[]; next: number }[] = [];
  const enter = (name: string): void => {
    const info = infos.get(name);
    if (!info || culprits.has(name)) return;
    culprits.set(name, undefined); // until all below it is known; cycles cannot be
    open.push({ name, references: info.references, next: 0 });
  };
  for (const start of infos.keys()) {
    enter(start);
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const reference = top.references[top.next++];
      if (reference !== undefined) {
        enter(reference);
        continue;
      }
      open.pop();
      for (const each of top.references) {
        const culprit = culprits.get(each) ?? (isGuilty(each) ? infos.get(each)?.path : undefined);
        if (!culprit) continue;
        culprits.set(top.name, culprit);
        break;
      }
    }
  }
  return culprits;
}
