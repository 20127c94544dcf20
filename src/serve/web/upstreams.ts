/** The caches behind this one, and how they are. */
import { type Html, html } from './html.ts';
import { badge, counted, table } from './parts.ts';
import type { Site } from './site.ts';

const STATES = {
  closed: ['good', 'answering'],
  open: ['bad', 'failing, passed over'],
  'half-open': ['dull', 'being tried again'],
} as const;

export function upstreamTable({ options: { upstreams, storeDirs } }: Site): Html {
  const rows = upstreams.map((upstream) => {
    const { url, state, lastError, latencyMs } = upstream.health();
    const refused = storeDirs.refusalOf(upstream);
    const [kind, text] = refused === undefined ? STATES[state] : (['bad', 'nothing is taken from it'] as const);
    return [
      html`<span class="mono break">${url}</span>`,
      badge(kind, text),
      latencyMs === undefined ? '—' : `${Math.round(latencyMs)} ms`,
      html`<span class="break">${refused ?? lastError ?? '—'}</span>`,
    ];
  });
  const columns = [
    { title: 'Cache' },
    { title: 'State' },
    { title: 'Last answer took', isNumber: true },
    { title: 'Last trouble' },
  ];
  return table('Upstream caches', columns, rows);
}

export function upstreamsBody(site: Site): Html {
  const { upstreams } = site.options;
  return html`<h1>Upstreams</h1>
${
  upstreams.length === 0
    ? html`<p class="lead">No other cache stands behind this one: what it lacks is a miss.</p>`
    : html`<p class="lead">What this cache lacks is asked of ${counted(upstreams.length, 'other cache')}, the better one with a head start. One that fails is passed over for a while.</p>${upstreamTable(site)}`
}`;
}
