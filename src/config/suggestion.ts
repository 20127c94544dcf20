/** `did you mean` for names that were mistyped. */

/** The one of `candidates` nearest to `word`, if it is near enough to be what was meant. */
export const suggest = (word: string, candidates: readonly string[]): string | undefined =>
  nearest(word, candidates, 1)[0];

/** Those of `candidates` that are near enough to `word` to be what was meant, nearest first, at most `count`. */
export function nearest(word: string, candidates: readonly string[], count: number): readonly string[] {
  const near = candidates
    .map((candidate) => ({ candidate, distance: editDistance(normal(word), normal(candidate)) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(candidate.length / 3)))
    .sort((a, b) => a.distance - b.distance);
  return near.slice(0, count).map(({ candidate }) => candidate);
}

/** Case and dashes are not what a person gets wrong. */
const normal = (word: string): string => word.toLowerCase().replaceAll('-', '_');

/** Levenshtein's distance with neighbours that changed places as one mistake, row by row. */
function editDistance(a: string, b: string): number {
  let beforeLast: readonly number[] = [];
  let last: readonly number[] = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          (last[j - 1] ?? 0) + cost,
          (last[j] ?? 0) + 1,
          (row[j - 1] ?? 0) + 1,
          swapped ? (beforeLast[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
