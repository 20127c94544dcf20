/** Whether the closure of every entry, root and pin is whole: in the cache, or upstream. */

import type { EntryTable } from '../cache-index/entry-table.ts';
import { currentPins, type Pin, type Root } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf } from '../errors.ts';
import { type BaseName, type HashPart, hashPartOf, toStorePath } from '../nix/store-path.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { whichHave } from '../upstream/upstream-set.ts';
import type { Findings } from './finding.ts';
import type { ScannedSegment } from './scanned-segment.ts';

export interface CheckClosureOptions extends CallOptions {
  readonly segments: readonly ScannedSegment[];
  readonly table: EntryTable;
  readonly roots: readonly Root[];
  readonly pins: readonly Pin[];
  readonly upstreams: readonly Upstream[];
  readonly storeDir: string;
  readonly findings: Findings;
  readonly onProgress: (done: number, total: number) => void;
}

export interface ClosureChecks {
  /** References that are nowhere, though nobody left them out on purpose, and an entry that needs each. */
  readonly missing: ReadonlyMap<HashPart, BaseName>;
}

interface Wanted {
  readonly name: BaseName;
  /** One of those that refer to it. */
  by: string | undefined;
  count: number;
  /** One of those that refer to it and say that it was left out on purpose; they do not count above. */
  without: string | undefined;
}

export async function checkClosure(options: CheckClosureOptions): Promise<ClosureChecks> {
  const { segments, table, roots, pins, upstreams, storeDir, findings, onProgress, signal } = options;
  const wanted = new Map<HashPart, Wanted>();
  const want = (name: BaseName): Wanted | undefined => {
    const hashPart = hashPartOf(name);
    if (table.find(hashPart)) return undefined;
    const held = wanted.get(hashPart) ?? { name, by: undefined, count: 0, without: undefined };
    wanted.set(hashPart, held);
    return held;
  };
  for (const segment of segments) {
    for (const { entry } of segment.entries()) {
      for (const reference of entry.narInfo.references) {
        const held = want(reference);
        if (!held) continue;
        if (entry.leftOut?.includes(reference)) {
          held.without ??= entry.narInfo.path;
          continue;
        }
        held.by ??= entry.narInfo.path;
        held.count++;
      }
    }
  }
  const inForce = currentPins(pins);
  for (const { path } of [...roots, ...inForce]) if (path) want(path);
  const asked = [...wanted.values()].map(({ name }) => ({ path: toStorePath(name, storeDir) }));
  const { present, unknown } = await whichHave(asked, upstreams, {
    signal,
    onEvent: (event) => onProgress(event.asked, event.total),
  });
  const isNowhere = (hashPart: HashPart): boolean =>
    wanted.has(hashPart) && !present.has(hashPart) && !unknown.has(hashPart);
  const missing = new Map<HashPart, BaseName>();
  for (const [hashPart, { name, by, count, without }] of wanted) {
    if (!isNowhere(hashPart)) continue;
    if (by === undefined) {
      if (without !== undefined) addLeftOut(toStorePath(name, storeDir), without, options);
      continue;
    }
    missing.set(hashPart, name);
    const others = count > 1 ? ` and ${count - 1} more` : '';
    const where = upstreams.length > 0 ? 'the cache nor upstream' : 'the cache, and no upstream is asked';
    const path = toStorePath(name, storeDir);
    findings.add('missing-reference', path, `${by}${others} refers to ${path}, which is in neither ${where}`);
  }
  const [failure] = unknown.values();
  if (failure) {
    findings.add(
      'unknown-reference',
      upstreams.map((upstream) => upstream.name).join(', '),
      `${unknown.size} references could not be looked up: ${messageOf(failure)}`,
    );
  }
  checkRecords(roots, inForce, isNowhere, options);
  return { missing };
}

function addLeftOut(path: string, without: string, { findings }: CheckClosureOptions): void {
  findings.add(
    'left-out-on-purpose',
    path,
    `${path}, to which ${without} refers, was left out when that was published`,
  );
}

function checkRecords(
  roots: readonly Root[],
  pins: readonly Pin[],
  isNowhere: (hashPart: HashPart) => boolean,
  { findings, storeDir }: CheckClosureOptions,
): void {
  for (const { name, path } of roots) {
    if (isNowhere(hashPartOf(path))) {
      const full = toStorePath(path, storeDir);
      findings.add('root-dangling', full, `root ${name} is ${full}, which is nowhere`);
    }
  }
  for (const { name, path } of pins) {
    if (path && isNowhere(hashPartOf(path))) {
      findings.add('pin-dangling', name, `pin ${name} is ${toStorePath(path, storeDir)}, which is nowhere`);
    }
  }
}
