/** Why targets of a build are not there: their own fault, or that of something they need. */
import type { PathInfo } from '../nix/path-info.ts';
import { baseNameOf, type StorePath } from '../nix/store-path.ts';
import type { BuildLog } from './build-log.ts';

/** A derivation and what it makes; a FlakeOutput is one. */
export interface BuildTarget {
  readonly drvPath: StorePath;
  /** By output name. */
  readonly outputs: Readonly<Record<string, StorePath>>;
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
  const byBaseName = new Map(closure.map((info) => [baseNameOf(info.path), info]));
  const started = new Set(log.started);
  // Nix names a derivation in its errors when that, or something it needs, failed. One that was started and is not
  // named was cut off by somebody else's failure.
  const guilty = new Set(
    closure
      .map(({ path }) => path)
      .filter((path) => path.endsWith('.drv') && log.errors.some((text) => text.includes(path))),
  );

  return targets.flatMap(({ drvPath }): BuildFailure[] => {
    const culprit = started.has(drvPath) ? undefined : deepest(drvPath, byBaseName, guilty);
    if (culprit === undefined && !guilty.has(drvPath)) return [];
    const failed = culprit ?? drvPath;
    const error = log.errors.find((text) => text.includes(failed)) ?? `the build of ${failed} failed`;
    const logTail = log.tailOf(failed);
    if (culprit !== undefined) return [{ drvPath, reason: 'dependency', error, culprit, logTail }];
    return [{ drvPath, reason: started.has(drvPath) ? 'failed' : 'unbuildable', error, logTail }];
  });
}

/** A guilty derivation below `from` that has no guilty one below itself. */
function deepest(
  from: StorePath,
  byBaseName: ReadonlyMap<string, PathInfo>,
  guilty: ReadonlySet<StorePath>,
): StorePath | undefined {
  const seen = new Set<string>([baseNameOf(from)]);
  const queue = [...(byBaseName.get(baseNameOf(from))?.references ?? [])];
  let found: StorePath | undefined;
  // Breadth first, so that the last guilty one met is the furthest down some way; cycles cannot be.
  for (const next of queue) {
    if (seen.has(next)) continue;
    seen.add(next);
    const info = byBaseName.get(next);
    if (info === undefined) continue;
    if (guilty.has(info.path)) found = info.path;
    queue.push(...info.references);
  }
  return found;
}
