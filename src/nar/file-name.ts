/**
 * File names and symlink targets as text. Nix knows them as bytes, and not all are UTF-8; here a byte that is no part of
 * well-formed UTF-8 stands as the lone surrogate U+DC00 + byte, as in Python's `surrogateescape`. That loses nothing, is
 * never ambiguous (UTF-8 has no surrogates) and survives JSON, where it is written `\udcff`.
 */

/** The text of bytes that are given as one character each, U+0000 to U+00FF. */
export function fileNameFromLatin1(bytes: string): string {
  if (!NOT_ASCII.test(bytes)) return bytes;
  const buffer = Buffer.from(bytes, 'latin1');
  const text = buffer.toString();
  if (!text.includes('\ufffd')) return text; // nothing was replaced
  let escaped = '';
  for (let at = 0; at < buffer.length; ) {
    const length = sequenceLength(buffer, at);
    if (length === 0) escaped += String.fromCharCode(0xdc00 + (buffer[at] ?? 0));
    else escaped += buffer.toString('utf8', at, at + length);
    at += length === 0 ? 1 : length;
  }
  return escaped;
}

/** The bytes of `name`, one character each. */
export function fileNameToLatin1(name: string): string {
  if (!NOT_ASCII.test(name)) return name;
  return Array.from(name, (character) => {
    const code = character.codePointAt(0) ?? 0;
    const isEscaped = code >= 0xdc80 && code <= 0xdcff;
    return isEscaped ? String.fromCharCode(code - 0xdc00) : Buffer.from(character).toString('latin1');
  }).join('');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII begins there
export const NOT_ASCII = /[^\x00-\x7f]/;

/** Bytes of the well-formed UTF-8 sequence at `at` (Unicode table 3-7), or 0. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const second = bytes[at + 1] ?? 0;
  if (first >= 0xc2 && first <= 0xdf) return isContinuation(second) ? 2 : 0;
  const third = bytes[at + 2] ?? 0;
  if (first >= 0xe0 && first <= 0xef) {
    const least = first === 0xe0 ? 0xa0 : 0x80;
    const most = first === 0xed ? 0x9f : 0xbf;
    return second >= least && second <= most && isContinuation(third) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const least = first === 0xf0 ? 0x90 : 0x80;
    const most = first === 0xf4 ? 0x8f : 0xbf;
    return second >= least && second <= most && isContinuation(third) && isContinuation(bytes[at + 3] ?? 0) ? 4 : 0;
  }
  return 0;
}

const isContinuation = (byte: number): boolean => byte >= 0x80 && byte <= 0xbf;
