/** Caches as gc's planner sees them, written down as tables. */

import type { CheckpointConfig } from '../../src/cache-index/checkpoint.ts';
import { digestOfFile, type Entry, fileHashOf, narUrl, wholeBlob } from '../../src/cache-index/entry.ts';
import { liveSet } from '../../src/cache-index/live-set.ts';
import { ENTRIES, NAR, PACK } from '../../src/cache-index/media-types.ts';
import type { Pin, Root } from '../../src/cache-index/records.ts';
import { checkpointTag, segmentTag } from '../../src/cache-index/tags.ts';
import { Census } from '../../src/census/census.ts';
import type { GcInput, Records } from '../../src/gc/plan.ts';
import { toStorePath } from '../../src/nix/store-path.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { baseNameFor } from './cache-builder.ts';
import { DAY_SECONDS, day } from './gc-runs.ts';

export interface EntryRow {
  readonly name: string;
  readonly references?: readonly string[];
  /** Days; default: the segment's. */
  readonly asserted?: number;
  /** Bytes of the compressed NAR; default 100. */
  readonly bytes?: number;
  /** The pack it lies in; default: a blob of its own. */
  readonly pack?: string;
}

export interface SegmentRow {
  readonly day: number;
  readonly entries?: readonly EntryRow[];
  readonly roots?: readonly Root[];
  readonly pins?: readonly Pin[];
  readonly publicKeys?: readonly string[];
}

export interface CacheTable {
  readonly segments: readonly SegmentRow[];
  /** Sizes of packs that entries name. */
  readonly packs?: Readonly<Record<string, number>>;
  readonly checkpoints?: readonly { readonly day: number; readonly config: Partial<CheckpointConfig> }[];
  /** Tags that are there besides. */
  readonly tags?: readonly string[];
  readonly listed?: readonly string[];
  readonly today: number;
  readonly retainDays?: number;
  readonly keepLast?: number;
  readonly maxLayers?: number;
}

const named = (text: string): Descriptor['digest'] => digestOf(Buffer.from(text));

/** The tag of a segment or checkpoint of that day: one a day, the same each time. */
const fixed = (tag: string, days: number): string =>
  tag.replace(/(?<=^[a-z]+-.{10}).{16}/, '0'.repeat(16 - String(days).length) + days);
export const segmentOfDay = (days: number): string => fixed(segmentTag(named(`entries ${days}`), day(days)), days);
export const checkpointOfDay = (days: number): string => fixed(checkpointTag(named(`config ${days}`), day(days)), days);

export function entryOf(row: EntryRow): Entry {
  const { name, references = [], bytes = 100, pack } = row;
  const digest = named(`nar ${name}`);
  const fileHash = fileHashOf(digest);
  const info = { path: toStorePath(baseNameFor(name)), url: narUrl(fileHash, 'zstd'), compression: 'zstd' };
  return {
    narInfo: {
      ...{ ...info, fileHash, fileSize: bytes, narHash: fileHash, narSize: bytes, sigs: [] },
      references: references.map(baseNameFor).sort(),
    },
    nar: [
      pack === undefined ? wholeBlob(digestOfFile(fileHash), bytes) : { digest: named(pack), offset: 0, length: bytes },
    ],
  };
}

export function censusOf({ segments, packs = {} }: Pick<CacheTable, 'segments' | 'packs'>): Census {
  const census = new Census();
  for (const { day: days, entries = [] } of segments) {
    const layers = new Map<string, Descriptor>();
    const add = (layer: Descriptor): unknown => layers.set(layer.digest, layer);
    add({ mediaType: ENTRIES, digest: named(`entries ${days}`), size: 1 });
    for (const { name, bytes = 100, pack } of entries) {
      if (pack === undefined) add({ mediaType: NAR, digest: named(`nar ${name}`), size: bytes });
      else add({ mediaType: PACK, digest: named(pack), size: packs[pack] ?? 0 });
    }
    const rows = entries.map((row) => ({ entry: entryOf(row), asserted: seconds(row.asserted ?? days) }));
    census.addSegment(segmentOfDay(days), [...layers.values()], rows);
  }
  return census;
}

export const seconds = (days: number): number => day(days).getTime() / 1000;

export function gcInput(table: CacheTable): GcInput {
  const { segments, checkpoints: written = [], today, retainDays = 30, keepLast, maxLayers = 1000 } = table;
  const checkpoints = new Map(
    written.map(({ day: days, config }) => [checkpointOfDay(days), { ...EMPTY_CONFIG, ...config }]),
  );
  const tags = [...segments.map((segment) => segmentOfDay(segment.day)), ...checkpoints.keys(), ...(table.tags ?? [])];
  const live = liveSet({ tags, listed: table.listed ?? [], checkpoints });
  const records = new Map<string, Records>(
    segments.map(({ day: days, roots = [], pins = [], publicKeys = [] }) => [
      segmentOfDay(days),
      { roots, pins, publicKeys },
    ]),
  );
  return {
    ...{ census: censusOf(table), records, checkpoints, maxLayers },
    liveCheckpoints: live.checkpoints,
    replaced: live.replaced,
    tags: new Set(tags),
    listed: new Set(table.listed),
    policy: { now: seconds(today), retainSeconds: retainDays * DAY_SECONDS, keepLast },
  };
}

const EMPTY_CONFIG: CheckpointConfig = {
  ...{
    formatVersion: 1,
    creator: 'test',
    created: '',
    replaces: [],
    segments: [],
    roots: [],
    pins: [],
    publicKeys: [],
  },
};

/** A root record of that day's publish. */
export const rootOf = (name: string, days: number, more: Partial<Root> = {}): Root => ({
  ...{ name, path: baseNameFor(name), time: seconds(days), run: `run ${days}` },
  ...more,
});
