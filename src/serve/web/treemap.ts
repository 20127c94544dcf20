/** Where the bytes of a cache are, as a drawing: an area for each package name. */
import { hierarchy, treemap, treemapSquarify } from 'd3-hierarchy';
import { formatBytes } from '../../quantity.ts';
import { type Html, html } from './html.ts';
import { counted } from './parts.ts';

export interface Area {
  readonly name: string;
  readonly bytes: number;
  readonly paths: number;
  readonly url: string;
}

export interface Canvas {
  readonly width: number;
  readonly height: number;
  readonly className: string;
}

const FONT = 13;
/** Of the font size: what a character is wide, on the average. */
const ADVANCE = 0.58;
const PADDING = 7;
const GAP = 2;
/** Shades by rank: the largest ones differ from one another, the small ones are alike. */
const SHADES = 6;

/** Drawn for one width of window; the others hide it. What it says is in the table beside it, too. */
export function drawTreemap(areas: readonly Area[], { width, height, className }: Canvas): Html {
  const root = hierarchy<{ readonly area?: Area; readonly children?: readonly { readonly area: Area }[] }>({
    children: areas.map((area) => ({ area })),
  }).sum(({ area }) => area?.bytes ?? 0);
  const laidOut = treemap<typeof root.data>()
    .tile(treemapSquarify.ratio(1.3))
    .size([width, height])
    .paddingInner(GAP)
    .round(true)(root);
  return html`<svg class="treemap ${className}" viewBox="0 0 ${width} ${height}" aria-hidden="true" focusable="false">
${laidOut.leaves().map((leaf, rank) => (leaf.data.area === undefined ? '' : cell(leaf.data.area, leaf, rank)))}</svg>`;
}

interface Rectangle {
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
}

function cell({ name, bytes, paths, url }: Area, { x0, y0, x1, y1 }: Rectangle, rank: number): Html | '' {
  const [width, height] = [x1 - x0, y1 - y0];
  if (width <= 0 || height <= 0) return '';
  const room = Math.floor((width - 2 * PADDING) / (FONT * ADVANCE));
  const label = name.length <= room ? name : room >= 4 ? `${name.slice(0, room - 1)}…` : '';
  const size = formatBytes(bytes);
  const hasLabel = label !== '' && height >= FONT + 2 * PADDING;
  const hasSize = hasLabel && height >= 2 * FONT + 3 * PADDING && size.length <= room;
  const shade = `shade-${Math.min(rank, SHADES - 1)}`;
  const drawn = html`<title>${name}: ${size}, ${counted(paths, 'path')}</title><rect class="${shade}" x="${x0}" y="${y0}" width="${width}" height="${height}" rx="3"/>${hasLabel && html`<text class="label" x="${x0 + PADDING}" y="${y0 + PADDING + FONT - 2}">${label}</text>`}${hasSize && html`<text class="size" x="${x0 + PADDING}" y="${y0 + PADDING + 2 * FONT + 3}">${size}</text>`}`;
  return html`<a href="${url}" tabindex="-1">${drawn}</a>\n`;
}
