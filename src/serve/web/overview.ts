/** The first page: what this cache is, how it is, and how to use it. */
import { pathsOf } from '../../cache/read/cache-reader.ts';
import { currentPins, currentRoots } from '../../cache-index/records.ts';
import { formatNumber } from '../../quantity.ts';
import { indexState } from '../info.ts';
import type { Counted } from './counting.ts';
import { type Html, html } from './html.ts';
import { badge, bytes, counted, notice, ofSeconds, pathLink, table, time } from './parts.ts';
import type { Records, Site, Visit } from './site.ts';
import { spaceDrawing } from './space.ts';
import { notRead, stillCounting } from './still-counting.ts';
import { upstreamTable } from './upstreams.ts';
import { howToUse } from './usage.ts';

const RECENT = 6;
const SIGNERS = 8;

export async function overviewBody(site: Site, visit: Visit, state: Counted): Promise<Html> {
  const { reader, upstreams, storeDirs } = site.options;
  const [keys, records] = await Promise.all([site.keys(visit), site.records(visit)]);
  const { entries } = reader.status();
  const isEmpty = pathsOf(reader.status()) === 0;
  return html`
<section class="hero" aria-labelledby="cache"><p class="kind">Nix binary cache</p>
<h1 id="cache">${reader.name}</h1>
${stateLine(site, visit)}</section>
${numbers(site, state, records)}
${signedBy(site, state)}
${state.state !== 'counted' && entries > 0 && stillCounting(state)}
${isEmpty && emptyNotice(site)}
${howToUse({ keys, address: visit.address, isPrivate: site.options.isPrivate, storeDir: storeDirs.current })}
${await recentRoots(site, visit, records)}
${state.state === 'counted' && entries > 0 && html`<section aria-labelledby="space"><div class="head"><h2 id="space">Where the bytes are</h2><a href="${visit.place.root}/space">All names</a></div>${spaceDrawing(state.figures, visit.place)}</section>`}
${upstreams.length > 0 && html`<section aria-labelledby="upstreams"><div class="head"><h2 id="upstreams">Upstreams</h2><a href="${visit.place.root}/upstreams">Details</a></div>${upstreamTable(site)}</section>`}`;
}

function stateLine({ options: { reader } }: Site, { place }: Visit): Html {
  const status = reader.status();
  const read = status.refreshedAt === undefined ? '' : html`<span>read ${time(status.refreshedAt, place)}</span>`;
  switch (indexState(status)) {
    case 'unread':
      return html`<p class="state">${badge('bad', 'No index yet')} <span>${status.lastError ?? 'It is being read.'}</span></p>`;
    case 'outdated':
      return html`<p class="state">${badge(status.lastError === undefined ? 'dull' : 'bad', 'Index from before')}${read} <span>${status.lastError}</span></p>`;
    case 'empty':
      return html`<p class="state">${badge('dull', 'Nothing published yet')}${read}</p>`;
    default:
      return html`<p class="state">${badge('good', 'Index current')}${read}</p>`;
  }
}

function numbers({ options: { reader, storeDirs, trust } }: Site, state: Counted, records: Records): Html {
  const total = state.state === 'counted' ? state.figures.total : undefined;
  const pending = html`<span class="pending">…</span>`;
  const known = 'records' in records ? records.records : undefined;
  const figure = (name: string, value: string | Html, note: string | Html): Html =>
    html`<div><dt>${name}</dt><dd>${value}<small>${note}</small></dd></div>`;
  return html`<dl class="figures">
${figure(trust.isOn ? 'In the index' : 'Store paths', formatNumber(pathsOf(reader.status())), `in ${storeDirs.current}`)}
${figure('Compressed', total === undefined ? pending : bytes(total.fileBytes), 'to download')}
${figure('Unpacked', total === undefined ? pending : bytes(total.narBytes), 'in a store')}
${figure('Roots', known === undefined ? pending : formatNumber(currentRoots(known.roots).length), known === undefined ? 'not known' : counted(currentPins(known.pins).length, 'pin'))}
</dl>`;
}

/** Names of keys; nobody verified all of it. */
function signedBy({ options: { trustedPublicKeys } }: Site, state: Counted): Html | undefined {
  if (state.state !== 'counted' || state.figures.total.paths === 0) return undefined;
  const { signers, total } = state.figures;
  const names = signers
    .slice(0, SIGNERS)
    .map(
      ({ keyName, entries }, i) =>
        html`${i > 0 && ', '}<code class="break">${keyName}</code>${entries < total.paths && html` (${formatNumber(entries)} of them)`}`,
    );
  const only = trustedPublicKeys.map(({ name }, i) => html`${i > 0 && ' or '}<code class="break">${name}</code>`);
  return html`<p class="note">${signers.length === 0 ? 'No path bears a signature.' : html`Signed by ${names}.`}${only.length > 0 && html` Only what ${only} has signed is served.`}</p>`;
}

const emptyNotice = ({ options: { reader, upstreams } }: Site): Html => {
  const rest = upstreams.length > 0 ? 'What upstream caches have is served meanwhile.' : '';
  return reader.status().refreshedAt === undefined
    ? notice('The index was not read yet.', `Paths show here once the registry has answered. ${rest}`)
    : notice(
        'Nothing was published to this cache yet.',
        html`<code>nixcache publish</code> in a flake, or <code>nixcache push</code> with store paths, fills it. ${rest}`,
      );
};

async function recentRoots(site: Site, { place }: Visit, records: Records): Promise<Html> {
  if (!('records' in records)) {
    if (site.options.reader.status().refreshedAt === undefined) return html``;
    return notRead(records);
  }
  const newest = currentRoots(records.records.roots).toReversed().slice(0, RECENT);
  if (newest.length === 0) return html``;
  const rows = newest.map((root) => [
    html`<span class="name">${root.name}</span>`,
    pathLink(root.path, place),
    root.system ?? '—',
    time(ofSeconds(root.time), place),
  ]);
  const columns = [
    { title: 'Root' },
    { title: 'Path' },
    { title: 'System', isShort: true },
    { title: 'Published', isShort: true },
  ];
  return html`<section aria-labelledby="recent"><div class="head"><h2 id="recent">Published last</h2><a href="${place.root}/roots">All roots</a></div>${table('What was published last', columns, rows)}</section>`;
}
