/** What gc would keep if it ran now, and why. */
import type { Keeping } from '../../census/inventory-walks.ts';
import type { KeepReason } from '../../census/retention.ts';
import { formatNumber } from '../../quantity.ts';
import type { Figures } from './counting.ts';
import { type Html, html } from './html.ts';
import { pager, pagingOf } from './paging.ts';
import { bytes, counted, notice, ofSeconds, pathLink, query, table, time } from './parts.ts';
import { KINDS, retentionText } from './reasons.ts';
import type { Share, Shares, Site, Visit } from './site.ts';
import { notRead } from './still-counting.ts';

/** Steps of an entry that is asked about. */
const LOOK = 10;

export async function retentionBody(site: Site, visit: Visit, figures: Figures): Promise<Html> {
  const known = await site.records(visit);
  if (!('records' in known)) return html`<h1>Retention</h1>${notRead(known)}`;
  const { records } = known;
  const { place, parameters } = visit;
  const { inventory } = figures;
  const keeping = await site.keeping(figures, records);
  const { byKind, dropped } = await sharesOf(site, visit, figures, keeping);
  const { retainSeconds, keepLast } = site.policy(records);
  const rule =
    keepLast === undefined || keepLast === 0
      ? ''
      : ` and the last ${counted(keepLast, 'publish', 'publishes')} of each root`;
  const paging = pagingOf(parameters.get('page'), dropped.length);
  const rows = (await site.named(figures, dropped.slice(paging.start, paging.end))).map(({ entry, path }) => [
    pathLink(path, place),
    bytes(inventory.fileBytesOf(entry)),
    time(ofSeconds(inventory.assertedOf(entry)), place),
  ]);
  const { expired, roots } = site.retention(records);
  return html`<h1>Retention</h1>
<p class="lead">What <code>nixcache gc</code> would do if it ran now with a retention of ${retentionText(retainSeconds)}${rule}: pins, the newest publish of each source and system, what was published or pushed within the retention, and all that these need.</p>
${records.unreadable.length > 0 && notice('gc would stop and drop nothing.', `It cannot read all of the cache: ${records.unreadable[0]}`)}
<section aria-labelledby="kept"><h2 id="kept">Kept, and dropped</h2>
${table('What is kept, by the first reason that applies', [{ title: 'Because' }, { title: 'Store paths', isNumber: true }, { title: 'Compressed', isNumber: true }], shareRows(byKind))}
<p class="note">A path that several reasons keep counts for the first. ${counted(roots.length, 'record')} of roots would stay, ${counted(expired.length, 'record')} would go.</p></section>
<section aria-labelledby="dropped"><h2 id="dropped">What would be dropped</h2>
${dropped.length === 0 ? html`<div class="empty"><p><strong>Nothing: all of it is needed.</strong></p></div>` : table('Store paths that nothing keeps, largest first', [{ title: 'Path' }, { title: 'Compressed', isNumber: true }, { title: 'Last needed', isNumber: true }], rows)}
${pager(paging, (page) => `${place.root}/retention${query({ page: page === 1 ? undefined : page })}`, 'Pages of what would be dropped')}</section>`;
}

async function sharesOf(site: Site, { signal }: Visit, figures: Figures, keeping: Keeping): Promise<Shares> {
  const known = site.shares.get(keeping);
  if (known !== undefined) return known;
  const { inventory, orders } = figures;
  const byKind = new Map<KeepReason['kind'] | 'dropped', Share>();
  const dropped: number[] = [];
  const slices = site.slices(signal);
  for (const entry of orders.size) {
    const kind = keeping.why(entry)?.reason.kind ?? 'dropped';
    const share = byKind.get(kind) ?? { paths: 0, fileBytes: 0 };
    share.paths++;
    share.fileBytes += inventory.fileBytesOf(entry);
    byKind.set(kind, share);
    if (kind === 'dropped') dropped.push(entry);
    if (slices.spend(LOOK)) await slices.turn();
  }
  const shares = { byKind, dropped };
  site.shares.set(keeping, shares);
  return shares;
}

function shareRows(shares: ReadonlyMap<KeepReason['kind'] | 'dropped', Share>): Html[][] {
  const kinds = Object.keys(KINDS) as KeepReason['kind'][];
  const row = (text: string, { paths, fileBytes }: Share): Html[] => [
    html`${text}`,
    html`${formatNumber(paths)}`,
    bytes(fileBytes),
  ];
  return [
    ...kinds.flatMap((kind) => {
      const share = shares.get(kind);
      return share === undefined ? [] : [row(KINDS[kind], share)];
    }),
    row('Nothing: would be dropped', shares.get('dropped') ?? { paths: 0, fileBytes: 0 }),
  ];
}
