/** Longest part of a foreign text that a message repeats; more helps nobody. */
const MAX_QUOTED = 120;

/** `text` for a message: in quotes, on one line, of bounded length, with nothing in it that acts on a terminal. */
export function quoted(text: string): string {
  const shown = text.slice(0, MAX_QUOTED).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, escapeCharacter);
  return `'${shown}${text.length > MAX_QUOTED ? '…' : ''}'`;
}

const escapeCharacter = (character: string): string => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
