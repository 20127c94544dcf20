/**
 * Of a path whose live entries do not say the same, which one stays. Readers take the newest; but one that a key of the
 * cache signed must not go for one that nobody signed, which whoever may write can add. And publishers with different keys, at
 * work at the same time, each list an entry without the other's signature: what stays gets those of all that say the same.
 */
import type { Entry } from '../cache-index/entry.ts';
import type { Census } from '../census/census.ts';
import { findSigner, isSameSigned, type PublicKey } from '../nix/signature.ts';

export interface ChosenForms {
  /** The row that stays, by path number, where it is not simply the newest. */
  readonly rows: ReadonlyMap<number, number>;
  /** All signatures of such a row. */
  readonly sigs: ReadonlyMap<number, readonly string[]>;
  /** Segments that are written anew for that. */
  readonly segments: ReadonlySet<number>;
}

export const NO_FORMS: ChosenForms = { rows: new Map(), sigs: new Map(), segments: new Set() };

/**
 * Looks only at paths whose entries differ. The row that stays counts as asserted when any row of its path was.
 *
 * @param keys public keys that the cache names; nobody vouches for them
 */
export function chooseForms(census: Census, entryAt: (row: number) => Entry, keys: readonly PublicKey[]): ChosenForms {
  const chosen = {
    rows: new Map<number, number>(),
    sigs: new Map<number, readonly string[]>(),
    segments: new Set<number>(),
  };
  if (keys.length === 0) return chosen;
  for (const [path, rows] of differingRows(census)) {
    const forms = rows.map((row) => ({ row, narInfo: entryAt(row).narInfo }));
    const best = forms.findLast(({ narInfo }) => findSigner(narInfo, keys));
    if (!best) continue;
    const others = forms.filter(({ narInfo }) => isSameSigned(narInfo, best.narInfo));
    const sigs = [...new Set([...best.narInfo.sigs, ...others.flatMap(({ narInfo }) => narInfo.sigs)])];
    const isLike = (row: number): boolean => census.formOf(row) === census.formOf(best.row);
    const last = rows.reduce((a, b) => (census.assertedOf(b) >= census.assertedOf(a) ? b : a));
    const isSeen = isLike(last) && rows.every((row) => row <= best.row || isLike(row));
    if (isSeen && sigs.length === best.narInfo.sigs.length) continue;
    chosen.rows.set(path, best.row);
    chosen.sigs.set(best.row, sigs);
    for (const row of rows) {
      census.raiseAsserted(best.row, census.assertedOf(row));
      if (row >= best.row) chosen.segments.add(census.segmentOf(row));
    }
  }
  return chosen;
}

/** The rows, oldest first, of each path that has several which do not say the same. */
function differingRows(census: Census): Map<number, number[]> {
  const first = new Float64Array(census.pathCount);
  const differing = new Map<number, number[]>();
  for (let row = 0; row < census.rowCount; row++) {
    const path = census.pathOf(row);
    const form = first[path];
    if (form === 0) first[path] = census.formOf(row);
    else if (form !== census.formOf(row)) differing.set(path, []);
  }
  if (differing.size > 0) {
    for (let row = 0; row < census.rowCount; row++) differing.get(census.pathOf(row))?.push(row);
  }
  return differing;
}
