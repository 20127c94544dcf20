/** The matrix of a GitHub Actions workflow: one job per system that a flake has outputs for. */
import type { Discovery } from './discover.ts';

interface MatrixEntry {
  readonly system: string;
  /** What `runs-on` takes: a label of GitHub's, or the labels of a self-hosted runner. */
  readonly runner: string | readonly string[];
  /** How many outputs there are for the system. */
  readonly outputs: number;
}

interface Matrix {
  readonly include: readonly MatrixEntry[];
}

/** GitHub's own runners, 2026-11: https://docs.github.com/en/actions/reference/runners/github-hosted-runners. */
const RUNNERS: Readonly<Record<string, string>> = {
  'x86_64-linux': 'ubuntu-latest',
  // There are no 32-bit machines; an x86-64 one builds for them.
  'i686-linux': 'ubuntu-latest',
  'aarch64-linux': 'ubuntu-24.04-arm',
  'aarch64-darwin': 'macos-latest',
  'x86_64-darwin': 'macos-15-intel',
};

export interface MatrixPlan {
  readonly matrix: Matrix;
  /** Systems that have no runner: a flake, which may be anyone's, chooses its systems, and shall not choose runners. */
  readonly withoutRunner: readonly string[];
}

/**
 * The matrix for what `discover` found with `systems: 'all'`; a system whose every output is broken has a job too. `runners`
 * are the labels for systems that GitHub has no runners for, or where others are wanted.
 */
export function planMatrix(
  discovery: Pick<Discovery, 'outputs' | 'failures'>,
  runners: ReadonlyMap<string, readonly string[]> = new Map(),
): MatrixPlan {
  const counts = new Map<string, number>();
  const count = (system: string): unknown => counts.set(system, (counts.get(system) ?? 0) + 1);
  for (const { system } of discovery.outputs) count(system);
  for (const { attrPath } of discovery.failures) {
    const [, , system] = /^([a-zA-Z]+)\.([a-z0-9_]+-[a-z]+)(?:\.|$)/.exec(attrPath) ?? [];
    if (system !== undefined) count(system);
  }
  const include: MatrixEntry[] = [];
  const withoutRunner: string[] = [];
  for (const [system, outputs] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const runner = runners.get(system) ?? (Object.hasOwn(RUNNERS, system) ? RUNNERS[system] : undefined);
    if (runner === undefined) withoutRunner.push(system);
    else include.push({ system, runner, outputs });
  }
  return { matrix: { include }, withoutRunner };
}
