/** verify: what is wrong with a cache, and, if asked to, healing it. */

import type { Mirror } from '../cache/read/mirror.ts';
import type { CallOptions } from '../call-options.ts';
import type { StorePath } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OnVerifyEvent } from './events.ts';
import { afterRepair } from './finding.ts';
import { type Inspection, inspect } from './inspect.ts';
import type { LocalSource } from './local-source.ts';
import { planRepair, type RepairPlan } from './plan.ts';
import { repair } from './repair.ts';
import { type Checked, describePlan, type RepairReport, sorted, type VerifyReport } from './report.ts';

export interface VerifyOptions extends CallOptions {
  readonly store: ContentStore;
  /** Where entries are kept while they are looked at; what it remembers stands in for what the cache has lost. */
  readonly mirror: Mirror;
  /** `read`: an index of the older layout is looked at like a segment. Not with a repair, which could not write it. */
  readonly legacy?: 'read' | undefined;
  /** Caches that closures may rest on; none: the cache has to be whole by itself. */
  readonly upstreams: readonly Upstream[];
  /** `name:base64`; none: those that publishers of the cache named. */
  readonly trustedPublicKeys: readonly string[];
  /** Whether every NAR is read. */
  readonly contents: boolean;
  /** Undefined: nothing is changed. */
  readonly repair?: RepairSettings | undefined;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  readonly onEvent: OnVerifyEvent;
  readonly now: () => Date;
}

export interface RepairSettings {
  readonly dryRun: boolean;
  readonly local: LocalSource | undefined;
  readonly dropIncomplete: boolean;
}

/** @throws {NixcacheError} when it cannot be told what the cache is like; what a repair did until then stays */
export async function verifyCache(options: VerifyOptions): Promise<VerifyReport> {
  const { onEvent, repair: settings } = options;
  const read = new Map<StorePath, NarSizes>();
  const good = new Set<string>();
  const look = (): Promise<Inspection> =>
    inspect({
      ...options,
      good,
      onEvent: (event) => {
        if (event.type === 'contents' && event.nars > 0) read.set(event.path, event);
        onEvent(event);
      },
    });
  const first = await look();
  try {
    const findings = sorted(first.findings.list);
    const countsOf = ({ segments, table, scan }: Inspection): Checked => ({
      ...{ segments: segments.length, entries: table.size, checkpoints: scan.checkpoints.size },
      ...sumOf(read.values()),
    });
    if (!settings) return { checked: countsOf(first), findings, repair: undefined };
    const signs = settings.local?.signs !== false; // without a Nix here a key is of no help either
    const healing = { ...options, ...settings };
    onEvent({ type: 'stage', stage: 'plan' });
    const plan = await planRepair(first, healing);
    if (settings.dryRun || isEmpty(plan)) {
      const report: RepairReport = { ...NOTHING_DONE, dryRun: settings.dryRun, plan: describePlan(plan) };
      const remaining = settings.dryRun ? findings : findings.map((each) => afterRepair(each, signs));
      return { checked: countsOf(first), findings, repair: { ...report, blocked: plan.blocked, remaining } };
    }
    const outcome = await repair(first, plan, { ...healing, inspect: look });
    onEvent({ type: 'stage', stage: 'again' });
    const last = await look();
    const counts = countsOf(last);
    last.close();
    const remaining = sorted(last.findings.list).map((each) => afterRepair(each, signs));
    return { checked: counts, findings, repair: { dryRun: false, plan: describePlan(plan), ...outcome, remaining } };
  } finally {
    first.close();
  }
}

type NarSizes = Pick<Checked, 'narBytes' | 'fileBytes'>;

function sumOf(nars: Iterable<NarSizes>): NarSizes & Pick<Checked, 'nars'> {
  const sum = { nars: 0, narBytes: 0, fileBytes: 0 };
  for (const { narBytes, fileBytes } of nars) {
    sum.nars += 1;
    sum.narBytes += narBytes;
    sum.fileBytes += fileBytes;
  }
  return sum;
}

const isEmpty = (plan: RepairPlan): boolean =>
  !plan.cacheIndex &&
  [plan.push, plan.fetch, plan.rewrite, plan.retag, plan.replaceCheckpoints, plan.removeCheckpoints].every(
    ({ length }) => length === 0,
  ) &&
  plan.drop.size === 0;

const NOTHING_DONE = { pushed: [], restored: [], dropped: [], checkpoint: undefined, failed: [], blocked: undefined };
