/** HTML that escapes whatever is put into it. */
import { html as template } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';

/** Markup, by way of `html` alone. */
export type Html = HtmlEscapedString;

/** What may stand in a template: text is escaped, and what is undefined or false is nothing. */
export type HtmlValue = string | number | Html | undefined | false | readonly HtmlValue[];

/** Markup with values in it. In attributes they stand in double quotes. */
export const html = (strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html =>
  template(strings, ...values.map(shown)) as Html; // a promise only where a value is one

/** Names and errors of others may hold what cannot be seen, or turns round what stands beside it. */
function shown(value: HtmlValue): HtmlValue {
  if (typeof value === 'string') return UNSEEN.test(value) ? value.replaceAll(ALL_UNSEEN, '\ufffd') : value;
  return Array.isArray(value) ? value.map(shown) : value;
}

/** Control characters but for line feeds, invisible ones, and those that change the direction of writing. */
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/u;
const ALL_UNSEEN = /(?!\n)[\p{Cc}\p{Cf}\u2028\u2029]/gu;
