/** Whether the closure of every entry, root and pin is whole: in the cache, or upstream. */

import type { EntryTable } from '../cache-index/entry-table.ts';
import { currentPins, type Pin, type Root } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf } from '../errors.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf, toStorePath } from '../nix/store-path.ts';
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
  const { segments, roots, pins, upstreams, storeDir, findings } = options;
  const wanted = new Map<BaseName, Wanted>();
  const nameOf = namesIn(options);
  const want = (name: BaseName, by: string): Wanted | undefined => {
    const there = nameOf(hashPartOf(name));
    if (there === name) return undefined;
    if (there !== undefined) {
      addMisnamed(name, there, by, options);
      return undefined;
    }
    const held = wanted.get(name) ?? { name, by: undefined, count: 0, without: undefined };
    wanted.set(name, held);
    return held;
  };
  for (const segment of segments) {
    for (const { entry } of segment.entries()) {
      for (const reference of entry.narInfo.references) {
        const held = want(reference, entry.narInfo.path);
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
  for (const { name, path } of roots) want(path, `root ${name}`);
  for (const { name, path } of inForce) if (path) want(path, `pin ${name}`);
  const { present, unknown } = await askUpstreams([...wanted.keys()], options);
  const isNowhere = (name: BaseName): boolean =>
    wanted.has(name) && !present.has(hashPartOf(name)) && !unknown.has(name);
  const missing = new Map<HashPart, BaseName>();
  for (const [name, { by, count, without }] of wanted) {
    const there = present.get(hashPartOf(name));
    if (there !== undefined && there !== name) addMisnamed(name, there, by ?? without ?? 'a root', options);
    if (!isNowhere(name)) continue;
    if (by === undefined) {
      if (without !== undefined) addLeftOut(toStorePath(name, storeDir), without, options);
      continue;
    }
    missing.set(hashPartOf(name), name);
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

/** Names that are kept at hand: nearly all references are to few paths. */
const MAX_NAMES = 65_536;

/** What the newest entry with a hash part is called. */
function namesIn({ table, segments }: CheckClosureOptions): (hashPart: HashPart) => BaseName | undefined {
  const known = new Map<HashPart, BaseName>();
  return (hashPart) => {
    const held = known.get(hashPart);
    if (held !== undefined) return held;
    const found = table.find(hashPart);
    const entry = found && segments[found.segment]?.parts.entryAt(found.row);
    if (entry === undefined) return undefined;
    const name = baseNameOf(entry.narInfo.path);
    if (known.size >= MAX_NAMES) known.clear();
    known.set(hashPart, name);
    return name;
  };
}

interface UpstreamNames {
  /** What upstreams have, of the names that were asked for. */
  readonly present: ReadonlyMap<HashPart, BaseName>;
  readonly unknown: ReadonlyMap<BaseName, Error>;
}

/** An answer is about a hash: of names that share one, each is asked for after the other. */
async function askUpstreams(
  names: readonly BaseName[],
  { upstreams, storeDir, onProgress, signal }: CheckClosureOptions,
): Promise<UpstreamNames> {
  const present = new Map<HashPart, BaseName>();
  const unknown = new Map<BaseName, Error>();
  for (let rest = names; rest.length > 0; ) {
    const round = new Map(rest.map((name) => [hashPartOf(name), name]));
    const asked = [...round.values()].map((name) => ({ path: toStorePath(name, storeDir) }));
    const found = await whichHave(asked, upstreams, {
      signal,
      onEvent: (event) => onProgress(event.asked, event.total),
    });
    for (const [hashPart, name] of round) {
      const failure = found.unknown.get(hashPart);
      if (found.present.has(hashPart)) present.set(hashPart, name);
      if (failure !== undefined) unknown.set(name, failure);
    }
    rest = rest.filter((name) => round.get(hashPartOf(name)) !== name);
  }
  return { present, unknown };
}

/** A client that follows the reference finds a path with another name, and takes it for damaged. */
function addMisnamed(
  name: BaseName,
  there: BaseName,
  by: string,
  { findings, storeDir }: Pick<CheckClosureOptions, 'findings' | 'storeDir'>,
): void {
  const path = toStorePath(name, storeDir);
  findings.add('misnamed-reference', path, `${by} refers to ${path}, and what has that hash is called ${there}`);
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
  isNowhere: (name: BaseName) => boolean,
  { findings, storeDir }: CheckClosureOptions,
): void {
  for (const { name, path } of roots) {
    if (isNowhere(path)) {
      const full = toStorePath(path, storeDir);
      findings.add('root-dangling', full, `root ${name} is ${full}, which is nowhere`);
    }
  }
  for (const { name, path } of pins) {
    if (path && isNowhere(path)) {
      findings.add('pin-dangling', name, `pin ${name} is ${toStorePath(path, storeDir)}, which is nowhere`);
    }
  }
}
