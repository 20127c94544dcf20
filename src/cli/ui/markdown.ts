/** Text for a job's page on GitHub. */
import { onOneLine } from './plain-text.ts';

/** Reasons come from registries and from Nix, and hold anything; here they are text. */
export const escapeMarkdown = (text: string): string => onOneLine(text).replaceAll(/[\\`*_[\]<>|~&@#!]/g, '\\$&');

/** A name as code, also in a table; backticks, which would end it, become quotes. */
export const markdownCode = (text: string): string =>
  `\`${onOneLine(text).replaceAll('`', "'").replaceAll('|', '\\|')}\``;
