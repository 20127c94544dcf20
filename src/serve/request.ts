/** A request as the routes see it. */

/** `http.IncomingMessage` is one as it comes; headers are looked up in the raw list, which costs less than an object. */
export interface ServeRequest {
  readonly method?: string | undefined;
  /** The request target as sent, not decoded. */
  readonly url?: string | undefined;
  /** name, value, name, value. */
  readonly rawHeaders: readonly string[];
}

/** The headers that change an answer. */
export interface Conditions {
  range?: string;
  ifRange?: string;
  ifNoneMatch?: string;
  /** A body comes with the request: no route takes one. */
  hasBody?: boolean;
}

/** Of nearly every request. */
export const UNCONDITIONAL: Conditions = {};

/** Reads the headers that matter; of repeated ones, the first counts. */
export function conditionsOf({ rawHeaders }: ServeRequest): Conditions {
  let found = UNCONDITIONAL;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    // Telling by length first spares nearly every comparison.
    const key = CANDIDATES[name.length];
    if (key === undefined || name.toLowerCase() !== key) continue;
    const value = rawHeaders[i + 1] ?? '';
    if (found === UNCONDITIONAL) found = {};
    if (key === 'range') found.range ??= value;
    else if (key === 'if-range') found.ifRange ??= value;
    else if (key === 'if-none-match') found.ifNoneMatch ??= value;
    else if (key === 'transfer-encoding' || value !== '0') found.hasBody = true;
  }
  return found;
}

const CANDIDATES: readonly (string | undefined)[] = byLength([
  'range',
  'if-range',
  'if-none-match',
  'content-length',
  'transfer-encoding',
]);

function byLength(names: readonly string[]): (string | undefined)[] {
  const table: (string | undefined)[] = new Array(32).fill(undefined);
  for (const name of names) table[name.length] = name;
  return table;
}

/** The path of a request target, decoded once, or undefined when it cannot name anything of ours. */
export function pathOf(target: string): string | undefined {
  // A proxy asks with the absolute form (RFC 9112 3.2.2).
  const start = /^https?:\/\/[^/?#]*/i.exec(target)?.[0].length ?? 0;
  const end = target.slice(start).search(/[?#]/);
  const raw = end < 0 ? target.slice(start) : target.slice(start, start + end);
  const path = decode(raw);
  if (path?.[0] !== '/' || FORBIDDEN.test(path)) return undefined;
  return path.split('/').some((segment) => segment === '.' || segment === '..') ? undefined : path;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: -- control characters are what is refused
const FORBIDDEN = /[\x00-\x1f\x7f\\]/;

function decode(raw: string): string | undefined {
  if (!raw.includes('%')) return raw;
  try {
    return decodeURIComponent(raw);
  } catch {
    return undefined; // not UTF-8, or no two hexadecimal digits behind a '%': no name of ours
  }
}
