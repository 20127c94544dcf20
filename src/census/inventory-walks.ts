/** What takes walking through an inventory: closures, what needs a path, what gc would keep. In slices. */
import { hashPartOf } from '../nix/store-path.ts';
import type { Sizes } from './entry-graph.ts';
import type { Inventory } from './inventory.ts';
import type { KeepReason, KeptRoot } from './retention.ts';
import type { Slices } from './slices.ts';

/** Steps of a reference that is followed. */
const HOP = 5;

export interface ClosureFigures extends Sizes {
  /** Store paths that something refers to and that are not in the cache. */
  readonly missing: number;
}

/** One bit for each number. */
class Bits {
  readonly #words: Uint32Array;

  constructor(count: number) {
    this.#words = new Uint32Array((count >> 5) + 1);
  }

  has(number: number): boolean {
    return ((this.#words[number >> 5] ?? 0) & (1 << (number & 31))) !== 0;
  }

  /** Whether it is new. */
  add(number: number): boolean {
    if (this.has(number)) return false;
    this.#words[number >> 5] = (this.#words[number >> 5] ?? 0) | (1 << (number & 31));
    return true;
  }
}

/** What the closure of `entry` takes, as far as it is in the cache. */
export async function closureOf(inventory: Inventory, entry: number, slices: Slices): Promise<ClosureFigures> {
  const seen = new Bits(inventory.count);
  const absent = new Set<number>();
  const open = [entry];
  seen.add(entry);
  let [paths, narBytes, fileBytes] = [0, 0, 0];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    paths++;
    narBytes += inventory.narBytesOf(at);
    fileBytes += inventory.fileBytesOf(at);
    for (const path of inventory.referencesOfRow(inventory.newestRowOf(at))) {
      const target = inventory.entryOfPath(path);
      if (target === undefined) absent.add(path);
      else if (seen.add(target)) open.push(target);
      if (slices.spend(HOP)) await slices.turn();
    }
  }
  return { paths, narBytes, fileBytes, missing: absent.size };
}

/** Against entries in an order that nobody writes: what it has found by then is right, and may lack some. */
const MAX_PASSES = 64;

/** Whether the closure of an entry holds `wanted`. References come before what refers to them, so that two passes mostly do. */
export async function neededBy(
  inventory: Inventory,
  wanted: number,
  slices: Slices,
): Promise<(entry: number) => boolean> {
  const needing = new Bits(inventory.count);
  needing.add(wanted);
  let hasGrown = true;
  for (let pass = 0; hasGrown && pass < MAX_PASSES; pass++) {
    hasGrown = false;
    for (let row = 0; row < inventory.rowCount; row++) {
      const entry = inventory.entryOfRow(row);
      if (needing.has(entry) || inventory.newestRowOf(entry) !== row) continue;
      let steps = HOP;
      for (const path of inventory.referencesOfRow(row)) {
        steps += HOP;
        const target = inventory.entryOfPath(path);
        if (target === undefined || !needing.has(target)) continue;
        needing.add(entry);
        hasGrown = true;
        break;
      }
      if (slices.spend(steps)) await slices.turn();
    }
  }
  return (entry) => needing.has(entry);
}

const NONE = 0;

/** What gc would keep of an inventory, and why. */
export class Keeping {
  readonly #reasons: readonly KeepReason[];
  /** By entry: 1 + the number of the reason. */
  readonly #reason: Uint32Array;
  /** By entry: the one that the reason is of. */
  readonly #origin: Uint32Array;

  constructor(reasons: readonly KeepReason[], reason: Uint32Array, origin: Uint32Array) {
    this.#reasons = reasons;
    this.#reason = reason;
    this.#origin = origin;
  }

  isKept(entry: number): boolean {
    return this.#reason[entry] !== NONE;
  }

  /** Why, for itself or because the entry `through` needs it; undefined if it is not kept. */
  why(entry: number): { readonly reason: KeepReason; readonly through: number } | undefined {
    const reason = this.#reasons[(this.#reason[entry] ?? NONE) - 1];
    return reason && { reason, through: this.#origin[entry] ?? entry };
  }
}

/** As `mark` of a census: what `roots` reach, then what was asserted at or after `since`, with all it reaches. */
export async function keepingOf(
  inventory: Inventory,
  roots: readonly KeptRoot[],
  since: number,
  slices: Slices,
): Promise<Keeping> {
  const reason = new Uint32Array(inventory.count);
  const origin = new Uint32Array(inventory.count);
  const reach = async (start: number, mark: number): Promise<void> => {
    if (reason[start] !== NONE) return;
    const open = [start];
    [reason[start], origin[start]] = [mark, start];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const row of inventory.rowsOf(at)) {
        for (const path of inventory.referencesOfRow(row)) {
          const target = inventory.entryOfPath(path);
          if (target !== undefined && reason[target] === NONE) {
            [reason[target], origin[target]] = [mark, start];
            open.push(target);
          }
          if (slices.spend(HOP)) await slices.turn();
        }
      }
    }
  };
  for (const [i, { path }] of roots.entries()) {
    const start = inventory.find(hashPartOf(path));
    if (start !== undefined) await reach(start, i + 1);
  }
  for (let entry = 0; entry < inventory.count; entry++) {
    if (inventory.assertedOf(entry) >= since) await reach(entry, roots.length + 1);
    if (slices.spend(1)) await slices.turn();
  }
  return new Keeping([...roots.map((root) => root.reason), { kind: 'pushed' }], reason, origin);
}
