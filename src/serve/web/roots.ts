/** What was published under which name, and what is pinned. */
import { currentPins, type Root, rootKeyOfName } from '../../cache-index/records.ts';
import { hashPartOf } from '../../nix/store-path.ts';
import { formatNumber } from '../../quantity.ts';
import type { Figures } from './counting.ts';
import { type Html, type HtmlValue, html } from './html.ts';
import { pager, pagingOf } from './paging.ts';
import { badge, bytes, counted, notice, ofSeconds, pathLink, query, table, time } from './parts.ts';
import { KINDS } from './reasons.ts';
import type { Site, Visit } from './site.ts';
import { notRead } from './still-counting.ts';

/** `figures` is undefined while they are being counted. */
export async function rootsBody(site: Site, visit: Visit, figures: Figures | undefined): Promise<Html> {
  const { place, parameters } = visit;
  const known = await site.records(visit);
  if (!('records' in known)) return html`<h1>Roots and pins</h1>${notRead(known)}`;
  const { records } = known;
  const groups = groupsOf(records.roots);
  const paging = pagingOf(parameters.get('page'), groups.length);
  const rows: HtmlValue[][] = [];
  for (const { newest, records: count } of groups.slice(paging.start, paging.end)) {
    rows.push([
      html`<a class="name" href="${historyUrl(newest, visit)}">${newest.name}</a>${newest.source !== undefined && html`<small class="break">${newest.source}</small>`}`,
      pathLink(newest.path, place),
      newest.system ?? '—',
      await closureCell(site, visit, figures, newest.path),
      html`${time(ofSeconds(newest.time), place)} <small>${counted(count, 'publish', 'publishes')}</small>`,
    ]);
  }
  const pins = currentPins(records.pins).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const pinRows: HtmlValue[][] = [];
  for (const { name, path, time: at } of pins) {
    if (path === undefined) continue;
    pinRows.push([
      html`<b>${name}</b>`,
      pathLink(path, place),
      await closureCell(site, visit, figures, path),
      time(ofSeconds(at), place),
    ]);
  }
  const columns = [
    { title: 'Root' },
    { title: 'Path' },
    { title: 'System', isShort: true },
    { title: 'Closure', isNumber: true },
    { title: 'Published', isNumber: true },
  ];
  return html`<h1>Roots and pins</h1>
<p class="lead">Roots are what publishers named; gc keeps the newest publish of each source, and others for the retention. Pins are kept until they are removed.</p>
${records.unreadable.length > 0 && notice('Some may be missing.', records.unreadable[0])}
<section aria-labelledby="roots"><h2 id="roots">Roots <span class="count">${formatNumber(groups.length)}</span></h2>
${groups.length === 0 ? html`<div class="empty"><p><strong>No root yet.</strong></p><p>Each <code>nixcache publish</code> records its outputs here.</p></div>` : table('Newest publish of each root', columns, rows)}
${pager(paging, (page) => `${place.root}/roots${query({ page: page === 1 ? undefined : page })}`, 'Pages of roots')}</section>
<section aria-labelledby="pins"><h2 id="pins">Pins <span class="count">${formatNumber(pinRows.length)}</span></h2>
${pinRows.length === 0 ? html`<div class="empty"><p><strong>Nothing is pinned.</strong></p><p><code>nixcache pin NAME PATH</code> keeps a path, whatever its age.</p></div>` : table('Pins in force', [{ title: 'Pin' }, { title: 'Path' }, { title: 'Closure', isNumber: true }, { title: 'Since', isNumber: true }], pinRows)}</section>`;
}

/** Everything that one root has stood for, newest first; undefined if there is no such root. */
export async function historyBody(site: Site, visit: Visit): Promise<Html | undefined> {
  const { place, parameters } = visit;
  const known = await site.records(visit);
  if (!('records' in known)) return html`<h1>History</h1>${notRead(known)}`;
  const [name, source, system] = ['name', 'source', 'system'].map((key) => parameters.get(key) ?? undefined);
  const all = known.records.roots
    .filter((root) => root.name === name && root.source === source && root.system === system)
    .toReversed();
  const [newest] = all;
  if (newest === undefined) return undefined;
  const keptAs = new Map<string, string>();
  for (const { path, reason } of site.retention(known.records).kept) {
    if (!('time' in reason) || reason.name !== name) continue;
    const key = `${path} ${reason.time}`;
    if (!keptAs.has(key)) keptAs.set(key, KINDS[reason.kind]);
  }
  const paging = pagingOf(parameters.get('page'), all.length);
  const rows: HtmlValue[][] = [];
  for (const root of all.slice(paging.start, paging.end)) {
    const isThere = (await site.options.reader.findEntry(hashPartOf(root.path))) !== undefined;
    const kept = keptAs.get(`${root.path} ${root.time}`);
    rows.push([
      time(ofSeconds(root.time), place),
      isThere
        ? pathLink(root.path, place)
        : html`<span class="path">${root.path.slice(33)}</span> ${badge('bad', 'not in the cache')}`,
      html`<span class="mono" title="${root.revision ?? ''}">${root.revision?.slice(0, 12) ?? '—'}</span>`,
      kept ?? 'Expired: gc would drop it',
    ]);
  }
  const columns = [{ title: 'Published' }, { title: 'Path' }, { title: 'Revision' }, { title: 'Kept as' }];
  const urlOf = (page: number): string => historyUrl(newest, visit, page === 1 ? undefined : page);
  return html`<p class="crumbs"><a href="${place.root}/roots">Roots</a></p><h1>${newest.name}</h1>
<p class="lead">${counted(all.length, 'publish', 'publishes')}${system !== undefined && html` for <b>${system}</b>`}${source !== undefined && html` from <span class="mono break">${source}</span>`}.</p>
${table('Publishes of this root, newest first', columns, rows)}
${pager(paging, urlOf, 'Pages of the history')}`;
}

const historyUrl = ({ name, source, system }: Root, { place }: Visit, page?: number): string =>
  `${place.root}/root${query({ name, source, system, page })}`;

interface Group {
  readonly newest: Root;
  readonly records: number;
}

/** Roots by name, source and system, by name. */
function groupsOf(roots: readonly Root[]): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const root of roots) {
    const key = rootKeyOfName(root);
    groups.set(key, { newest: root, records: (groups.get(key)?.records ?? 0) + 1 }); // roots are oldest first
  }
  const keyOf = ({ newest: { name, system = '', source = '' } }: Group): string => [name, system, source].join('\0');
  return [...groups.values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

async function closureCell(site: Site, visit: Visit, figures: Figures | undefined, path: Root['path']): Promise<Html> {
  if (figures === undefined) return html`<span class="pending">…</span>`;
  const entry = figures.inventory.find(hashPartOf(path));
  if (entry === undefined) return badge('bad', 'not in the cache');
  const { narBytes, paths } = await site.closureOf(figures, entry, visit);
  return html`${bytes(narBytes)} <small>${counted(paths, 'path')}</small>`;
}
