/** `did you mean` for names that were mistyped. */

/** The one of `candidates` nearest to `word`, if it is near enough to be what was meant. */
export const suggest = (word: string, candidates: readonly string[]): string | undefined =>
  nearest(word, candidates, 1)[0];

/** Nobody mistypes more in one name; and so a name costs no more than its length, however many there are. */
const MAX_MISTAKES = 8;

/** Those of `candidates` that are near enough to `word` to be what was meant, nearest first, at most `count`. */
export function nearest(word: string, candidates: Iterable<string>, count: number): readonly string[] {
  const meant = normal(word);
  const near: { readonly candidate: string; readonly distance: number }[] = [];
  for (const candidate of candidates) {
    const last = near.length < count ? undefined : near.at(-1);
    const allowed = Math.max(1, Math.floor(candidate.length / 3));
    const most = [allowed, MAX_MISTAKES, last ? last.distance - 1 : MAX_MISTAKES].toSorted((a, b) => a - b)[0] ?? 0;
    const distance = distanceWithin(meant, normal(candidate), most);
    if (distance === undefined) continue;
    if (last) near.pop();
    const place = near.findIndex((each) => each.distance > distance);
    near.splice(place < 0 ? near.length : place, 0, { candidate, distance });
  }
  return near.map(({ candidate }) => candidate);
}

/** Case and dashes are not what a person gets wrong. */
const normal = (word: string): string => word.toLowerCase().replaceAll('-', '_');

/**
 * Levenshtein's distance with neighbours that changed places as one mistake, row by row; undefined above `most`. Only
 * what lies within `most` of the diagonal is looked at, and only as long as it can still be few enough.
 */
function distanceWithin(a: string, b: string, most: number): number | undefined {
  if (Math.abs(a.length - b.length) > most || lettersApart(a, b) > most) return undefined;
  const far = most + 1;
  let beforeLast: readonly number[] = [];
  let leastOfLast = 0;
  let last: readonly number[] = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row: number[] = new Array(b.length + 1).fill(far);
    row[0] = i;
    let least = i;
    for (let j = Math.max(1, i - most); j <= b.length && j <= i + most; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const distance = Math.min(
        (last[j - 1] ?? far) + cost,
        (last[j] ?? far) + 1,
        (row[j - 1] ?? far) + 1,
        swapped ? (beforeLast[j - 2] ?? far) + 1 : far,
      );
      row[j] = distance;
      if (distance < least) least = distance;
    }
    if (least > most && leastOfLast >= most) return undefined; // a change of places looks back two rows
    leastOfLast = least;
    beforeLast = last;
    last = row;
  }
  const distance = last[b.length] ?? far;
  return distance > most ? undefined : distance;
}

/** Letters that one of the two has and the other lacks, wherever they stand: it takes a mistake each. */
function lettersApart(a: string, b: string): number {
  const counts = new Int32Array(128); // letters that share a place here only make the result smaller
  for (let i = 0; i < a.length; i++) add(counts, a.charCodeAt(i), 1);
  for (let i = 0; i < b.length; i++) add(counts, b.charCodeAt(i), -1);
  let more = 0;
  let fewer = 0;
  for (const count of counts) {
    if (count > 0) more += count;
    else fewer -= count;
  }
  return Math.max(more, fewer);
}

function add(counts: Int32Array, code: number, by: number): void {
  counts[code & 127] = (counts[code & 127] ?? 0) + by;
}
