/** Long lists, a page at a time. */
import { formatNumber } from '../../quantity.ts';
import { type Html, html } from './html.ts';

const PAGE_SIZE = 50;

export interface Paging {
  /** From 1; there is always a first page. */
  readonly page: number;
  readonly pages: number;
  readonly start: number;
  readonly end: number;
  readonly total: number;
}

/** The page that `asked` names of `total` things, or the nearest that there is. */
export function pagingOf(asked: string | null, total: number, size = PAGE_SIZE): Paging {
  const pages = Math.max(1, Math.ceil(total / size));
  const wanted = asked !== null && /^[0-9]{1,9}$/.test(asked) ? Number(asked) : 1;
  const page = Math.min(Math.max(wanted, 1), pages);
  const start = (page - 1) * size;
  return { page, pages, start, end: Math.min(start + size, total), total };
}

/** Links to the pages beside this one. */
export function pager(
  { page, pages, start, end, total }: Paging,
  urlOf: (page: number) => string,
  label: string,
): Html {
  if (pages === 1) return html``;
  const link = (to: number, text: string, rel: string): Html | '' =>
    to < 1 || to > pages || to === page ? '' : html`<a href="${urlOf(to)}" rel="${rel}">${text}</a>`;
  return html`<nav class="pager" aria-label="${label}">
${link(1, 'First', 'first')} ${link(page - 1, 'Previous', 'prev')}
<span class="where">${formatNumber(start + 1)}–${formatNumber(end)} of ${formatNumber(total)}</span>
${link(page + 1, 'Next', 'next')} ${link(pages, 'Last', 'last')}
</nav>`;
}
