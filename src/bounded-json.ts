/**
 * JSON out of other hands. A byte of it can become sixty in memory (`[[[[…`), so what it would become is counted before it
 * is parsed.
 */

export interface JsonBounds {
  /** Values and members in all, default a million: some 100 MiB. */
  readonly maxValues?: number;
  /** Arrays and objects within each other, default 32. */
  readonly maxDepth?: number;
}

const MAX_VALUES = 1_000_000;
const MAX_DEPTH = 32;

/** @throws {Error} when it is no JSON, or is beyond a bound; whoever calls names what it should have been */
export function parseBoundedJson(
  text: string,
  { maxValues = MAX_VALUES, maxDepth = MAX_DEPTH }: JsonBounds = {},
): unknown {
  let values = 1;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x2c: // ,
        values++;
        break;
      case 0x5b: // [
      case 0x7b: // {
        values++;
        if (++depth > maxDepth) throw new Error(`it is nested deeper than ${maxDepth} levels`);
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
    }
    if (values > maxValues) throw new Error(`it has more than ${maxValues} values`);
  }
  return JSON.parse(text);
}

/** The same; undefined when it is no JSON, or is beyond a bound. */
export function boundedJsonOf(text: string, bounds?: JsonBounds): unknown {
  try {
    return parseBoundedJson(text, bounds);
  } catch {
    return undefined;
  }
}

/** Where the string that begins at `at` ends; at the end of the text if it does not. */
function endOfString(text: string, at: number): number {
  for (let quote = text.indexOf('"', at + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let escapes = quote - 1;
    while (text.charCodeAt(escapes) === 0x5c) escapes--;
    if ((quote - 1 - escapes) % 2 === 0) return quote;
  }
  return text.length;
}
