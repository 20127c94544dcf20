/** Where the bytes are. */

import { packageOf } from '../../census/name-sizes.ts';
import { nameOf } from '../../nix/store-path.ts';
import { formatNumber } from '../../quantity.ts';
import type { Figures } from './counting.ts';
import { type Html, html } from './html.ts';
import { bytes, counted, type Place, query, table } from './parts.ts';
import type { Site, Visit } from './site.ts';
import { type Area, drawTreemap } from './treemap.ts';

const DRAWN_WIDE = 70;
const DRAWN_NARROW = 26;
const WIDE = { width: 1040, height: 460, className: 'for-wide' };
const NARROW = { width: 358, height: 460, className: 'for-narrow' };
const LISTED = 60;

/** The drawing alone, for wide and for narrow windows. */
export function spaceDrawing(figures: Figures, place: Place): Html {
  const { sizes } = figures;
  const draw = (count: number, canvas: typeof WIDE): Html => {
    const areas: Area[] = sizes.largest.slice(0, count).map(({ name, fileBytes, paths }) => ({
      ...{ name, bytes: fileBytes, paths },
      url: `${place.root}/entries${query({ q: name, sort: 'size' })}`,
    }));
    const shown = sizes.largest.slice(0, count).reduce((sum, { fileBytes }) => sum + fileBytes, 0);
    const others = sizes.largest.length + sizes.rest.names - areas.length;
    const caption = html`<p class="note ${canvas.className}">The ${areas.length} names with the most bytes have ${bytes(shown)} of ${bytes(figures.total.fileBytes)}; ${counted(others, 'other')} have the rest.</p>`;
    return html`${drawTreemap(areas, canvas)}${others > 0 && caption}`;
  };
  return html`<div class="drawing">${draw(DRAWN_WIDE, WIDE)}${draw(DRAWN_NARROW, NARROW)}</div>`;
}

export async function spaceBody(site: Site, { place }: Visit, figures: Figures): Promise<Html> {
  const { sizes, total } = figures;
  const listed = sizes.largest.slice(0, LISTED);
  // Names are kept in small letters; their entries have them as they are.
  const samples = new Map(
    (
      await site.named(
        figures,
        listed.map(({ sample }) => sample),
      )
    ).map(({ entry, path }) => [entry, path]),
  );
  const labelOf = (name: string, sample: number): string => {
    const path = samples.get(sample);
    return path === undefined ? name : packageOf(nameOf(path));
  };
  const rows = listed.map(({ name, sample, paths, fileBytes, narBytes }) => [
    html`<a href="${place.root}/entries${query({ q: name, sort: 'size' })}">${labelOf(name, sample)}</a>`,
    bar(fileBytes, total.fileBytes),
    formatNumber(paths),
    bytes(fileBytes),
    bytes(narBytes),
  ]);
  const columns = [
    { title: 'Name' },
    { title: 'Share' },
    { title: 'Paths', isNumber: true },
    { title: 'Compressed', isNumber: true },
    { title: 'Unpacked', isNumber: true },
  ];
  return html`<h1>Where the bytes are</h1>
<p class="lead">${bytes(total.fileBytes)} in ${counted(total.paths, 'store path')}, added up by package name, all versions and outputs together.</p>
${spaceDrawing(figures, place)}
<section aria-labelledby="largest"><h2 id="largest">Largest names</h2>${table('Package names with the most bytes', columns, rows)}</section>`;
}

function bar(part: number, whole: number): Html {
  const percent = whole === 0 ? 0 : (100 * part) / whole;
  const text = percent >= 10 ? percent.toFixed(0) : percent.toFixed(1);
  return html`<span class="share"><svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false"><rect class="track" width="100" height="6" rx="3"/><rect class="filled" width="${percent.toFixed(2)}" height="6" rx="3"/></svg> ${text} %</span>`;
}
