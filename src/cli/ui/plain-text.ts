/**
 * Text from outside, made harmless where it is shown. Names in a flake or a cache, build logs and other programs' errors
 * hold whatever somebody wrote: none of it is to command a terminal, or a workflow of GitHub's.
 */

/** Control characters but tab and line end, and those that turn the direction of text round, or are not seen at all. */
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: -- they are what is looked for
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]/g;

const codeOf = (character: string): string => character.charCodeAt(0).toString(16).padStart(4, '0');

/** `text` with what cannot be seen spelt out: an escape is `\u001b`. */
export const visible = (text: string): string => text.replaceAll(UNSEEN, (character) => `\\u${codeOf(character)}`);

/** The same on one line, as a cell of a table is. */
export const onOneLine = (text: string): string => visible(text.replaceAll('\n', '\\n').replaceAll('\t', '\\t'));

/**
 * `value` as JSON on one line, whole: in it the same characters are escaped that are spelt out elsewhere, and GitHub's old
 * commands, so that `withoutCommands` has nothing to change. A new one is at the beginning of a line, where no value is.
 */
export const toJson = (value: unknown): string => visible(JSON.stringify(value)).replaceAll('##[', '\\u0023#[');

/** `text` in which no line is one of GitHub's workflow commands, old (`##[` anywhere) or new (`::` first). */
export const withoutCommands = (text: string): string =>
  text.replaceAll(/^(\s*):(?=:)/gm, '$1\\:').replaceAll('##[', '## [');
