/**
 * What gc is going to do, as a value: printable for --dry-run, comparable in a test, carried out by execute.ts. Pure.
 *
 * The cost follows what changed. A segment is written anew only if it holds something that is dropped, if a quarter of it is
 * superseded by newer segments, if it holds a pack that is mostly dead, or if it is small and not alone in that; all
 * others stay as they are. NARs are not uploaded again, except for the live pieces of packs that are mostly dead.
 *
 * A second gc right after finds nothing to do: what it would write is neither sparse nor superseded, and at most the last
 * segment is small, which alone is no reason.
 */
import { MAX_HELD_PACK_BYTES } from '../cache/write/pack.ts';
import type { CheckpointConfig } from '../cache-index/checkpoint.ts';
import { mergePins, mergeRoots, type Pin, type Root, rootKey } from '../cache-index/records.ts';
import type { Census } from '../census/census.ts';
import { type Marks, mark, newestRows } from '../census/marks.ts';
import { applyRetention, type Retention, type RetentionPolicy, retainedSince } from '../census/retention.ts';
import type { HashPart } from '../nix/store-path.ts';
import { type ChosenForms, NO_FORMS } from './forms.ts';
import { type PlannedPack, type PlannedSegment, partition, pieceKey, planPacks } from './partition.ts';

/** Roots, pins and keys of one segment or checkpoint. */
export interface Records {
  readonly roots: readonly Root[];
  readonly pins: readonly Pin[];
  readonly publicKeys: readonly string[];
}

export interface GcInput {
  readonly census: Census;
  /** Of each segment of the census, by its tag. */
  readonly records: ReadonlyMap<string, Records>;
  /** All checkpoints that have a tag, replaced ones too. */
  readonly checkpoints: ReadonlyMap<string, CheckpointConfig>;
  /** Those that no other replaces. */
  readonly liveCheckpoints: readonly string[];
  /** Everything that some checkpoint replaces. */
  readonly replaced: ReadonlySet<string>;
  /** Every tag in the repository. */
  readonly tags: ReadonlySet<string>;
  /** Segments that `cache-index` lists. */
  readonly listed: ReadonlySet<string>;
  /** Which entries stay that are not simply the newest of their path. */
  readonly forms?: ChosenForms | undefined;
  readonly policy: RetentionPolicy;
  /** Layers that one manifest may have. */
  readonly maxLayers: number;
}

export type RewriteReason = 'dropped-entries' | 'superseded-entries' | 'sparse-pack' | 'small';

interface DroppedEntry {
  readonly hashPart: HashPart;
  /** Bytes of the compressed NAR. */
  readonly bytes: number;
  /** When it was last pushed, in Unix seconds. */
  readonly asserted: number;
  /** Row in the census. */
  readonly row: number;
}

export interface GcPlan {
  readonly keep: { readonly entries: number; readonly bytes: number };
  /** By store hash. */
  readonly drop: readonly DroppedEntry[];
  /** Signatures of entries that get those of others too, by row. */
  readonly sigs: ReadonlyMap<number, readonly string[]>;
  readonly retention: Retention;
  readonly marks: Marks;
  readonly untouched: readonly string[];
  readonly rewritten: readonly { readonly tag: string; readonly why: RewriteReason }[];
  readonly packs: readonly PlannedPack[];
  /** Packs that are mostly dead. */
  readonly sparsePacks: number;
  readonly outputs: readonly PlannedSegment[];
  /** Undefined when there is nothing to drop and nothing to compact. */
  readonly checkpoint: PlannedCheckpoint | undefined;
}

export interface PlannedCheckpoint extends Records {
  /** Rewritten segments, older checkpoints, and what those replaced that is not gone yet. */
  readonly replaces: readonly string[];
  /** Hash parts of what was left out for good. */
  readonly removed: readonly string[];
}

/** Entries below which a segment is small. */
const SMALL_ENTRIES = 300;
/** Share of the layers allowed below which it is small: parts of large NARs fill a manifest too. */
const SMALL_LAYERS = 0.3;
/** Share of a segment's entries that newer segments hold, above which it is written anew. */
const MAX_SUPERSEDED = 0.25;
/** Share of a pack's bytes that must be needed; below, it is written anew. */
const MIN_LIVE = 0.5;

export function planGc(input: GcInput): GcPlan {
  const { census, records, forms = NO_FORMS, policy, maxLayers } = input;
  const sources = [...records.values(), ...input.liveCheckpoints.flatMap((tag) => input.checkpoints.get(tag) ?? [])];
  const retention = applyRetention(
    sources.flatMap(({ roots }) => roots),
    sources.flatMap(({ pins }) => pins),
    policy,
  );
  const marks = mark(census, retention.kept, retainedSince(policy));
  const best = newestRows(census);
  for (const [path, row] of forms.rows) best[path] = row + 1;

  const keep = { entries: 0, bytes: 0 };
  const dropped: number[] = [];
  const live: number[] = [];
  for (const [path, winner] of best.entries()) {
    if (winner === 0) continue;
    const row = winner - 1;
    const bytes = census.bytesOf(row);
    if (marks.isKept(path)) {
      keep.entries++;
      keep.bytes += bytes;
      live.push(row);
    } else dropped.push(row);
  }
  const drop = dropped
    .sort((a, b) => census.comparePaths(census.pathOf(a), census.pathOf(b)))
    .map((row) => describeDropped(row, census));

  const sparse = sparsePacks(census, live);
  const rewritten = chooseRewritten(census, marks, best, sparse, forms.segments, maxLayers);
  const pool = live.filter((row) => rewritten.has(census.segmentOf(row)));
  const packs = planPacks(census, pool, sparse);
  const packOf = new Map(packs.flatMap(({ pieces }, i) => pieces.map(({ row, kind }) => [pieceKey(row, kind), i])));
  const outputs = partition(census, pool, packOf, maxLayers);
  const tagOf = (segment: number): string => census.segments[segment]?.tag ?? '';
  return {
    keep,
    drop,
    sigs: forms.sigs,
    retention,
    marks,
    untouched: census.segments.filter((_, i) => !rewritten.has(i)).map(({ tag }) => tag),
    rewritten: [...rewritten].sort(([a], [b]) => a - b).map(([segment, why]) => ({ tag: tagOf(segment), why })),
    packs,
    sparsePacks: sparse.size,
    outputs,
    checkpoint: rewritten.size === 0 ? undefined : planCheckpoint(input, [...rewritten.keys()].map(tagOf), retention),
  };
}

const describeDropped = (row: number, census: Census): DroppedEntry => ({
  hashPart: census.hashPartOf(census.pathOf(row)),
  bytes: census.bytesOf(row),
  asserted: census.assertedOf(row),
  row,
});

/** Packs of whose bytes less than half are needed by `rows`. Whoever else holds such a pack is written anew. */
function sparsePacks(census: Census, rows: readonly number[]): Set<number> {
  const needed = new Float64Array(census.blobCount);
  for (const row of rows) {
    for (const { blob, bytes } of census.extentsOf(row)) needed[blob] = (needed[blob] ?? 0) + bytes;
  }
  const sparse = new Set<number>();
  for (const pack of new Set(census.segments.flatMap(({ packs }) => packs))) {
    const { size } = census.blob(pack);
    if (size <= MAX_HELD_PACK_BYTES && (needed[pack] ?? 0) < size * MIN_LIVE) sparse.add(pack);
  }
  return sparse;
}

/** Segment numbers to write anew, and why. */
function chooseRewritten(
  census: Census,
  marks: Marks,
  best: Uint32Array,
  sparse: ReadonlySet<number>,
  reformed: ReadonlySet<number>,
  maxLayers: number,
): Map<number, RewriteReason> {
  const chosen = new Map<number, RewriteReason>();
  const small: number[] = [];
  census.segments.forEach(({ start, end, layers, packs }, segment) => {
    const rows = end - start;
    let dropped = 0;
    let superseded = 0;
    for (let row = start; row < end; row++) {
      const path = census.pathOf(row);
      if (!marks.isKept(path)) dropped++;
      else if (best[path] !== row + 1) superseded++;
    }
    if (dropped > 0) chosen.set(segment, 'dropped-entries');
    else if (superseded > rows * MAX_SUPERSEDED || reformed.has(segment)) chosen.set(segment, 'superseded-entries');
    else if (packs.some((pack) => sparse.has(pack))) chosen.set(segment, 'sparse-pack');
    else if (rows < SMALL_ENTRIES && layers < maxLayers * SMALL_LAYERS) small.push(segment);
  });
  if (chosen.size > 0 || small.length > 1) for (const segment of small) chosen.set(segment, 'small');
  return chosen;
}

/**
 * The new checkpoint stands for all older ones: it carries on what they killed and is not gone, so that they can be
 * deleted without any of it coming back.
 */
function planCheckpoint(input: GcInput, rewritten: readonly string[], retention: Retention): PlannedCheckpoint {
  const { records, checkpoints, liveCheckpoints, tags, listed } = input;
  const carried = [...input.replaced].filter((tag) => tags.has(tag) || listed.has(tag));
  const sources = [...rewritten.map((tag) => records.get(tag)), ...liveCheckpoints.map((tag) => checkpoints.get(tag))];
  const merged = sources.filter((source) => source !== undefined);
  const stays = new Set(retention.roots.map(rootKey));
  return {
    replaces: [...new Set([...rewritten, ...liveCheckpoints, ...carried])].sort(),
    roots: mergeRoots(merged.map(({ roots }) => roots)).filter((root) => stays.has(rootKey(root))),
    pins: mergePins(merged.map(({ pins }) => pins)),
    publicKeys: [...new Set(merged.flatMap(({ publicKeys }) => publicKeys))].sort(),
    removed: [...new Set(liveCheckpoints.flatMap((tag) => checkpoints.get(tag)?.removed ?? []))],
  };
}
