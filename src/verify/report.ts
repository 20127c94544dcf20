/** What a verification found, and what a repair did about it: plain data, the JSON of `--json`. */
import type { Finding } from './finding.ts';
import type { PlannedDrop, RepairPlan } from './plan.ts';
import type { RepairOutcome } from './repair.ts';

export interface Checked {
  readonly segments: number;
  readonly entries: number;
  readonly checkpoints: number;
  /** Paths whose NARs `--contents` has read. */
  readonly nars: number;
  /** Of those NARs, unpacked. */
  readonly narBytes: number;
  /** The same, compressed. */
  readonly fileBytes: number;
}

export interface VerifyReport {
  /** What the cache holds: after a repair, as that left it. */
  readonly checked: Checked;
  /** Before any repair. */
  readonly findings: readonly Finding[];
  readonly repair: (RepairReport & { readonly remaining: readonly Finding[] }) | undefined;
}

export interface RepairReport extends RepairOutcome {
  readonly dryRun: boolean;
  readonly plan: DescribedPlan;
}

export interface DescribedPlan {
  /** Store paths. */
  readonly push: readonly string[];
  readonly fetch: readonly { readonly path: string; readonly from: string }[];
  readonly drop: readonly PlannedDrop[];
  /** Tags. */
  readonly rewrite: readonly string[];
  readonly retag: readonly string[];
  readonly replaceCheckpoints: readonly string[];
  readonly removeCheckpoints: readonly string[];
  readonly cacheIndex: boolean;
}

export const describePlan = (plan: RepairPlan): DescribedPlan => ({
  push: plan.push.map(({ info }) => info.path),
  fetch: plan.fetch.map(({ entry, upstream }) => ({
    path: entry.narInfo.path,
    from: upstream?.name ?? 'a damaged pack',
  })),
  drop: [...plan.drop.values()],
  rewrite: plan.rewrite,
  retag: plan.retag,
  replaceCheckpoints: plan.replaceCheckpoints,
  removeCheckpoints: plan.removeCheckpoints,
  cacheIndex: plan.cacheIndex,
});

/** What is left to be done: after a repair, what it could not heal. */
export const outstanding = (report: VerifyReport): readonly Finding[] => report.repair?.remaining ?? report.findings;

export const hasDamage = (report: VerifyReport): boolean =>
  outstanding(report).some(({ severity }) => severity === 'damage');

const SEVERITIES = ['damage', 'warning', 'info'];

/** Worst first; then by kind and by what it is. */
export const sorted = (findings: readonly Finding[]): readonly Finding[] =>
  findings.toSorted(
    (a, b) =>
      SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) ||
      compare(a.kind, b.kind) ||
      compare(a.what, b.what),
  );

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
