/** Text for a job's page on GitHub. */
import { onOneLine } from './plain-text.ts';

/** Reasons come from registries and from Nix, and hold anything; here they are text. */
export const escapeMarkdown = (text: string): string => onOneLine(text).replaceAll(/[\\`*_[\]<>|~&@#!]/g, '\\$&');

/** A name as code, also in a table; backticks, which would end it, become quotes. */
export const markdownCode = (text: string): string =>
  `\`${onOneLine(text).replaceAll('`', "'").replaceAll('|', '\\|')}\``;

/** Lines of a log as a block; the fence is longer than any in it. */
export function markdownBlock(lines: readonly string[]): string {
  const text = lines.map(onOneLine).join('\n');
  const longest = [...text.matchAll(/`+/g)].reduce((most, [run]) => Math.max(most, run.length), 2);
  const fence = '`'.repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}
