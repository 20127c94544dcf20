/** The small things that pages are made of: quantities, times, paths, tables. */
import { type BaseName, HASH_PART_LENGTH, nameOf } from '../../nix/store-path.ts';
import { formatBytes, formatNumber } from '../../quantity.ts';
import { type Html, type HtmlValue, html } from './html.ts';

/** Where a page is: how its links begin, and what time it is. */
export interface Place {
  /** From the page to where the cache is: `.` or `..`, for it may lie below a prefix that only a proxy knows. */
  readonly root: string;
  readonly now: Date;
}

/** Characters of a hash that are enough to tell it from others on a page. */
const HASH_SHOWN = 8;

/** `1.5 KiB`, with the exact number to be had. */
export const bytes = (count: number): Html =>
  html`<data value="${count}" title="${formatNumber(count)} bytes">${formatBytes(count)}</data>`;

const UNITS = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
] as const;

/** `3 days ago`, with the time itself to be had. */
export function time(at: Date, { now }: Place): Html {
  const seconds = (now.getTime() - at.getTime()) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ['minute', 60];
  const count = Math.floor(Math.abs(seconds) / size);
  const plural = `${formatNumber(count)} ${unit}${count === 1 ? '' : 's'}`;
  const text = count === 0 ? 'just now' : seconds < 0 ? `in ${plural}` : `${plural} ago`;
  return html`<time datetime="${isoOf(at)}" title="${stampOf(at)}">${text}</time>`;
}

const isoOf = (at: Date): string => at.toISOString();
/** `2026-11-20 13:37:05 UTC` */
const stampOf = (at: Date): string => `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
export const ofSeconds = (seconds: number): Date => new Date(seconds * 1000);

/** `1 path`, `12,345 paths`. */
export const counted = (count: number, noun: string, plural = `${noun}s`): string =>
  `${formatNumber(count)} ${count === 1 ? noun : plural}`;

/** A path by its name, with the beginning of its hash; leads to its page. */
export const pathLink = (path: BaseName, place: Place): Html =>
  html`<a class="path" href="${pathUrl(path, place)}" title="${path}"><span class="name">${nameOf(path)}</span> <span class="hash">${path.slice(0, HASH_SHOWN)}…</span></a>`;

const pathUrl = (path: BaseName | string, { root }: Place): string => `${root}/path/${path.slice(0, HASH_PART_LENGTH)}`;

export interface ColumnSpec {
  readonly title: string;
  readonly isNumber?: boolean;
  /** Whether two of them stand side by side in a card, as numbers do. */
  readonly isShort?: boolean;
}

/** A table, of which narrow screens make cards. The first cell of a row names it. */
export function table(caption: string, columns: readonly ColumnSpec[], rows: readonly (readonly HtmlValue[])[]): Html {
  const className = ({ isNumber, isShort }: ColumnSpec): string =>
    isNumber === true ? 'number' : isShort === true ? 'short' : 'text';
  return html`<table role="table"><caption class="unseen">${caption}</caption>
<thead role="rowgroup"><tr role="row">${columns.map((column) => html`<th role="columnheader" scope="col" class="${className(column)}">${column.title}</th>`)}</tr></thead>
<tbody role="rowgroup">${rows.map(
    (cells) => html`<tr role="row">${cells.map((cell, i) => cellOf(cell, columns[i], i === 0, className))}</tr>
`,
  )}</tbody></table>`;
}

function cellOf(
  cell: HtmlValue,
  column: ColumnSpec = { title: '' },
  isFirst: boolean,
  className: (column: ColumnSpec) => string,
): Html {
  if (isFirst) return html`<th role="rowheader" scope="row" class="${className(column)}">${cell}</th>`;
  return html`<td role="cell" class="${className(column)}" data-label="${column.title}"><span>${cell}</span></td>`;
}

/** A state in a word, with a dot of its colour. */
export const badge = (kind: 'good' | 'bad' | 'dull', text: HtmlValue): Html =>
  html`<span class="badge ${kind}">${text}</span>`;

export const notice = (title: string, text: HtmlValue): Html =>
  html`<div class="notice" role="note"><p><strong>${title}</strong></p><p>${text}</p></div>`;

/** A string of a query, without what is undefined or the default. */
export function query(parameters: Readonly<Record<string, string | number | undefined>>): string {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [`${name}=${encodeURIComponent(String(value))}`],
  );
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}
