/** Roots and pins: what gc keeps, and why. */
import * as z from 'zod/mini';
import type { BaseName } from '../nix/store-path.ts';

const baseName = z.custom<BaseName>(
  (value) => typeof value === 'string' && /^[0-9a-z]{32}-./.test(value),
  'not a base name',
);

/** Unix seconds that a date can have. */
const seconds = z.number().check(z.gte(0), z.lte(8_640_000_000_000));

/** An output that was published. Re-recorded on every publish, so that retention counts from the last one. */
export const rootSchema = z.object({
  /** Attribute path, or the name given to `push --name`. */
  name: z.string(),
  path: baseName,
  system: z.optional(z.string()),
  /** Flake reference of the source, without credentials. */
  source: z.optional(z.string()),
  revision: z.optional(z.string()),
  /** Unix seconds. */
  time: seconds,
  /** The same for all roots of one publish. */
  run: z.string(),
});
export type Root = z.infer<typeof rootSchema>;

/** A named root that gc keeps until it is removed; the newest record of a name counts. */
export const pinSchema = z.object({
  name: z.string(),
  path: z.optional(baseName),
  /** Unix seconds. */
  time: seconds,
  /** Set on the record that removes the pin. */
  removed: z.optional(z.boolean()),
});
export type Pin = z.infer<typeof pinSchema>;

/** Same key, same record; only its time may differ. */
export const rootKey = ({ run, source, revision, system, name, path }: Root): string =>
  [run, source, revision, system, name, path].join('\0');
const pinKey = (pin: Pin): string => [pin.name, pin.time, pin.path, pin.removed].join('\0');

/** The union of several lists, each record once, oldest first. Commutative, associative, idempotent. */
export const mergeRoots = (lists: Iterable<readonly Root[]>): Root[] => merge(lists, rootKey);
export const mergePins = (lists: Iterable<readonly Pin[]>): Pin[] => merge(lists, pinKey);

function merge<T extends { readonly time: number }>(lists: Iterable<readonly T[]>, keyOf: (record: T) => string): T[] {
  const byKey = new Map<string, T>();
  for (const list of lists) {
    for (const record of list) {
      const key = keyOf(record);
      const held = byKey.get(key);
      if (!held || record.time > held.time) byKey.set(key, record);
    }
  }
  return [...byKey].sort(([a, x], [b, y]) => x.time - y.time || (a < b ? -1 : 1)).map(([, record]) => record);
}

/** Names of one source and system are told from those of others, and have publishes of their own. */
export const placeKeyOf = ({ source, system }: Root): string => JSON.stringify([source ?? '', system ?? '']);

/** Names of one source and system: a newer record of the same stands for what the name is now. */
export const rootKeyOfName = (root: Root): string => JSON.stringify([placeKeyOf(root), root.name]);

/** What each name of a source and system stands for now: its newest record. Oldest first. */
export function currentRoots(roots: readonly Root[]): Root[] {
  const newest = new Map(mergeRoots([roots]).map((root) => [rootKeyOfName(root), root]));
  return mergeRoots([[...newest.values()]]);
}

/** The pins in force: the newest record of each name, unless that removed it. */
export function currentPins(pins: readonly Pin[]): Pin[] {
  const newest = new Map<string, Pin>();
  for (const pin of mergePins([pins])) newest.set(pin.name, pin);
  return [...newest.values()].filter((pin) => !pin.removed && pin.path !== undefined);
}

/** What a segment or a checkpoint says beside its entries. */
export interface SegmentRecords {
  readonly roots: readonly Root[];
  readonly pins: readonly Pin[];
}

export const NO_RECORDS: SegmentRecords = { roots: [], pins: [] };

/** Each record once. */
export const mergeRecords = (all: readonly SegmentRecords[]): SegmentRecords => ({
  roots: mergeRoots(all.map(({ roots }) => roots)),
  pins: mergePins(all.map(({ pins }) => pins)),
});
