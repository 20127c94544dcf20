/** Which entries are kept: all that kept roots reach, and all that entries pushed within the retention reach. Pure. */
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { Census } from './census.ts';
import type { KeepReason, KeptRoot } from './retention.ts';

/** Why an entry is kept: for itself, or because the path `through` needs it. */
export interface WhyKept {
  readonly reason: KeepReason;
  readonly through: HashPart;
}

const NONE = 0;

export class Marks {
  readonly #census: Census;
  readonly #reasons: readonly KeepReason[];
  /** By path number: 1 + the number of the reason. */
  readonly #reason: Uint32Array;
  /** By path number: the path that the reason is of. */
  readonly #origin: Uint32Array;

  constructor(census: Census, reasons: readonly KeepReason[], reason: Uint32Array, origin: Uint32Array) {
    this.#census = census;
    this.#reasons = reasons;
    this.#reason = reason;
    this.#origin = origin;
  }

  /** Whether a path number is kept; so may be one that is not in the cache. */
  isKept(path: number): boolean {
    return this.#reason[path] !== NONE;
  }

  /** Why the path is kept, or undefined if it is not. */
  why(hashPart: HashPart): WhyKept | undefined {
    const path = this.#census.findPath(hashPart);
    const reason = path === undefined ? undefined : this.#reasons[(this.#reason[path] ?? NONE) - 1];
    return path !== undefined && reason
      ? { reason, through: this.#census.hashPartOf(this.#origin[path] ?? 0) }
      : undefined;
  }
}

/**
 * Marks what `roots` reach, each path with the first root that does, then what was asserted at or after `since` (Unix
 * seconds), with all it reaches. All rows of a path count: readers may see any of them.
 */
export function mark(census: Census, roots: readonly KeptRoot[], since: number): Marks {
  const reason = new Uint32Array(census.pathCount);
  const origin = new Uint32Array(census.pathCount);
  const rowsOf = groupRows(census);
  const reach = (start: number, mark: number): void => {
    const open: number[] = [];
    const visit = (path: number): void => {
      if (reason[path] !== NONE) return;
      reason[path] = mark;
      origin[path] = start;
      open.push(path);
    };
    visit(start);
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      for (const row of rowsOf(path)) for (const reference of census.referencesOf(row)) visit(reference);
    }
  };
  roots.forEach(({ path }, i) => {
    const start = census.findPath(hashPartOf(path));
    if (start !== undefined) reach(start, i + 1);
  });
  for (let row = 0; row < census.rowCount; row++) {
    if (census.assertedOf(row) >= since) reach(census.pathOf(row), roots.length + 1);
  }
  return new Marks(census, [...roots.map((root) => root.reason), { kind: 'pushed' }], reason, origin);
}

/** The rows of a path, by a linked list through two columns. */
function groupRows(census: Census): (path: number) => Generator<number> {
  const first = new Uint32Array(census.pathCount);
  const next = new Uint32Array(census.rowCount);
  for (let row = 0; row < census.rowCount; row++) {
    const path = census.pathOf(row);
    next[row] = first[path] ?? 0;
    first[path] = row + 1;
  }
  return function* rowsOf(path: number) {
    for (let at = first[path] ?? 0; at !== 0; at = next[at - 1] ?? 0) yield at - 1;
  };
}

/** By path number: 1 + the row that counts, 0 if the path is not in the cache. It was asserted last; then it is newest. */
export function newestRows(census: Census): Uint32Array {
  const best = new Uint32Array(census.pathCount);
  for (let row = 0; row < census.rowCount; row++) {
    const path = census.pathOf(row);
    const held = best[path] ?? 0;
    if (held === 0 || census.assertedOf(row) >= census.assertedOf(held - 1)) best[path] = row + 1;
  }
  return best;
}
