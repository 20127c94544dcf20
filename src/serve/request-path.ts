/** The path that a request names. */

/** The path of a URL or of a request target, decoded once; undefined when it cannot name anything of ours. */
export function pathOf(target: string): string | undefined {
  // A proxy asks with the absolute form (RFC 9112 3.2.2), and a `Request` always has it.
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
