/** The path that a request names. */

/** A request target without its origin: a proxy asks with one (RFC 9112 3.2.2), and a `Request` always has one. */
export const originForm = (target: string): string => target.replace(/^https?:\/\/[^/?#]*/i, '');

/** The path of a URL or of a request target, decoded once; undefined when it cannot name anything of ours. */
export function pathOf(target: string): string | undefined {
  const path = decode(/^[^?#]*/.exec(originForm(target))?.[0] ?? '');
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
