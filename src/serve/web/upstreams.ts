/** The caches behind this one, and how they are. */
import type { UpstreamHealth } from '../../upstream/upstream.ts';
import { type Html, html } from './html.ts';
import { badge, counted, table } from './parts.ts';
import type { Site } from './site.ts';

type Badge = readonly ['good' | 'bad' | 'dull', string];

function badgeOf({ state, isAnswering }: UpstreamHealth): Badge {
  if (state === 'open') return ['bad', 'failing, passed over'];
  if (state === 'half-open') return ['dull', 'being tried again'];
  if (isAnswering === undefined) return ['dull', 'not asked yet'];
  return isAnswering ? ['good', 'answering'] : ['bad', 'failed last'];
}

export function upstreamTable({ options: { upstreams, storeDirs } }: Site): Html {
  const rows = upstreams.map((upstream) => {
    const health = upstream.health();
    const { url, lastError, latencyMs } = health;
    const refused = storeDirs.refusalOf(upstream);
    const [kind, text] = refused === undefined ? badgeOf(health) : (['bad', 'nothing is taken from it'] as const);
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
