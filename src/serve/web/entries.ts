/** All entries, or those that a search finds, a page at a time. */
import { ALPHABET } from '../../nix/nixbase32.ts';
import { baseNameOf, HASH_PART_LENGTH, type HashPart, isHashPart } from '../../nix/store-path.ts';
import { formatNumber } from '../../quantity.ts';
import type { Figures, Order } from './counting.ts';
import { type Html, html } from './html.ts';
import { pager, pagingOf } from './paging.ts';
import { bytes, counted, ofSeconds, pathLink, query, table, time } from './parts.ts';
import type { Site, Visit } from './site.ts';

const SORTS: Readonly<Record<Order, string>> = { name: 'Name', size: 'Size', newest: 'Last needed' };
const isOrder = (text: string | null): text is Order => text !== null && Object.hasOwn(SORTS, text);

/** Of a search: whoever wants more has not said what they want. */
const MAX_MATCHES = 5000;
const MAX_QUERY = 300;
/** A hash is told from a name by so many characters at least. */
const MIN_HASH_PREFIX = 4;
const HASH_PREFIX = new RegExp(`^[${ALPHABET}]{${MIN_HASH_PREFIX},${HASH_PART_LENGTH}}$`);
/** Steps of a name that is looked at. */
const LOOK = 20;

/** What was typed, without what nobody means. */
export const searchOf = (parameters: URLSearchParams): string =>
  (parameters.get('q') ?? '').slice(0, MAX_QUERY).trim().replaceAll(/\s+/g, ' ');

/** The one path that `text` names in full: a store path or what lies in one, a base name, or a hash. */
export async function exactPath(site: Site, text: string): Promise<HashPart | undefined> {
  const storeDir = site.options.storeDirs.current;
  const [base = ''] = (text.startsWith(`${storeDir}/`) ? text.slice(storeDir.length + 1) : text).split('/');
  const hashPart = base.replace(/\.narinfo$/, '').slice(0, HASH_PART_LENGTH);
  if (!isHashPart(hashPart)) return undefined;
  const entry = await site.options.reader.findEntry(hashPart);
  if (!entry) return undefined;
  const [bare] = base.split('.narinfo');
  return bare === hashPart || base === baseNameOf(entry.narInfo.path) ? hashPart : undefined;
}

interface Matches {
  readonly entries: Uint32Array | readonly number[];
  /** Whether there are more than were looked for. */
  readonly isCut: boolean;
}

export async function entriesBody(site: Site, visit: Visit, figures: Figures): Promise<Html> {
  const { parameters, place } = visit;
  const text = searchOf(parameters);
  const asked = parameters.get('sort');
  const order = isOrder(asked) ? asked : 'name';
  const { entries, isCut } =
    text === '' ? { entries: figures.orders[order], isCut: false } : await find(site, figures, text, order, visit);
  const paging = pagingOf(parameters.get('page'), entries.length);
  const shown = await site.named(figures, entries.slice(paging.start, paging.end));
  const urlOf = (changes: Readonly<Record<string, string | number | undefined>>): string => {
    const all = { q: text, sort: order === 'name' ? undefined : order, ...changes };
    return `${place.root}/entries${query(all)}`;
  };
  const rows: Html[][] = [];
  for (const { entry, path } of shown) {
    const closure = await site.closureOf(figures, entry, visit);
    rows.push([
      pathLink(path, place),
      bytes(figures.inventory.fileBytesOf(entry)),
      bytes(figures.inventory.narBytesOf(entry)),
      html`${bytes(closure.narBytes)} <small>${counted(closure.paths, 'path')}</small>`,
      time(ofSeconds(figures.inventory.assertedOf(entry)), place),
    ]);
  }
  const columns = [
    { title: 'Path' },
    { title: 'Compressed', isNumber: true },
    { title: 'Unpacked', isNumber: true },
    { title: 'With closure', isNumber: true },
    { title: 'Last needed', isNumber: true },
  ];
  return html`<h1>${text === '' ? 'Entries' : html`Entries for “${text}”`}</h1>
<div class="tools"><p class="lead">${summaryOf(text, entries.length, isCut)}</p>
<nav class="sorts" aria-label="Order"><span aria-hidden="true">Sort by</span>${(Object.keys(SORTS) as Order[]).map((each) => html`<a href="${urlOf({ sort: each === 'name' ? undefined : each })}"${each === order ? html` aria-current="true"` : ''}>${SORTS[each]}</a>`)}</nav></div>
${shown.length === 0 ? nothingFound(text, visit) : table(text === '' ? 'Store paths in the cache' : 'Store paths that were found', columns, rows)}
${pager(paging, (page) => urlOf({ page: page === 1 ? undefined : page }), 'Pages of entries')}`;
}

function summaryOf(text: string, count: number, isCut: boolean): string {
  if (text === '') return `${counted(count, 'store path')} in this cache.`;
  if (isCut)
    return `More than ${formatNumber(MAX_MATCHES)} store paths match; these are the first. Say more to see fewer.`;
  return `${counted(count, 'store path')} ${count === 1 ? 'matches' : 'match'}.`;
}

const nothingFound = (text: string, { place }: Visit): Html =>
  text === ''
    ? html`<div class="empty"><p><strong>There is nothing here yet.</strong></p><p>Once something is published, it is listed here.</p></div>`
    : html`<div class="empty"><p><strong>No store path in this cache matches.</strong></p><p>A search finds parts of names, several words in any order, and the beginning of a hash. ${isHashPart(text) && html`An upstream cache may still have it: <a href="${place.root}/${text}.narinfo">ask for its narinfo</a>.`} <a href="${place.root}/entries">All entries</a></p></div>`;

async function find(site: Site, figures: Figures, text: string, order: Order, { signal }: Visit): Promise<Matches> {
  const { inventory } = figures;
  const slices = site.slices(signal);
  const found = new Set<number>();
  const looks: Iterable<number | undefined>[] = [inventory.names.search(text.split(' '))];
  if (HASH_PREFIX.test(text)) looks.unshift(inventory.withPrefix(text));
  for (const look of looks) {
    for (const entry of look) {
      if (entry !== undefined) found.add(entry);
      if (found.size > MAX_MATCHES) break;
      if (slices.spend(LOOK)) await slices.turn();
    }
  }
  const isCut = found.size > MAX_MATCHES;
  const entries = [...found].slice(0, MAX_MATCHES).sort(comparing(figures, order));
  return { entries, isCut };
}

function comparing({ inventory }: Figures, order: Order): (a: number, b: number) => number {
  if (order === 'size') return (a, b) => inventory.fileBytesOf(b) - inventory.fileBytesOf(a) || a - b;
  if (order === 'newest') return (a, b) => inventory.assertedOf(b) - inventory.assertedOf(a) || a - b;
  return (a, b) => inventory.names.compare(a, b) || a - b;
}
